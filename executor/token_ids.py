"""Which tokenizers give and take the same token ids: told by what they hold, not by their names."""

from __future__ import annotations

import json
from typing import Any

from transformers import PreTrainedTokenizerBase

from profiles.store import content_hash

# Parts of a tokenizer that have no say in the ids of a text without special tokens around it.
NO_SAY = ("version", "truncation", "padding", "post_processor")


def vocabulary_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The same for tokenizers with the same vocabulary, merges, added tokens and ways to split."""
    return f"tokens {content_hash(_content(tokenizer))}"


def _content(tokenizer: Any) -> Any:
    if not tokenizer.is_fast:
        added = {
            str(number): str(token) for number, token in tokenizer.added_tokens_decoder.items()
        }
        return [type(tokenizer).__name__, tokenizer.get_vocab(), added]
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return {part: value for part, value in content.items() if part not in NO_SAY}
