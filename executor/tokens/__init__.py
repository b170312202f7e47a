"""Between texts and token ids: tokenizers, chat templates, thoughts in a text."""
