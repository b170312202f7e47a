"""Which tokenizers give and take the same token ids: told by what they hold, not by their names.

And the ids of what agents and users say, which is never a special token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from profiles.store import content_hash

# Parts of a tokenizer that have no say in the ids of a text without special tokens around it.
NO_SAY = ("version", "truncation", "padding", "post_processor")


def vocabulary_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The same for tokenizers with the same vocabulary, merges, added tokens and ways to split."""
    return f"tokens {content_hash(_content(tokenizer))}"


def special_ids_of(tokenizer: Any) -> frozenset[int]:
    """Of the tokens that structure prompts."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(number for number, token in added.items() if token.special)


def ids_below(tokenizer: PreTrainedTokenizerBase) -> int:
    """No id is this or more; it may be more than there are tokens, as ids may have gaps."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def beginning_of(tokenizer: Any) -> str:
    """What the tokenizer puts before every text; models that are used to it are lost without."""
    text = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a", add_special_tokens=True)
    if not text or text[:1] == whole[:1] or text[0] not in whole:
        return ""
    return str(tokenizer.decode(whole[: whole.index(text[0])], skip_special_tokens=False))


def _content(tokenizer: Any) -> Any:
    if not tokenizer.is_fast:
        added = {
            str(number): str(token) for number, token in tokenizer.added_tokens_decoder.items()
        }
        return [type(tokenizer).__name__, tokenizer.get_vocab(), added]
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return {part: value for part, value in content.items() if part not in NO_SAY}


class ContentEncoder:
    """Encodes what is said: a text that spells a special token has the ids of its letters."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        if any(special in text for special in self._specials):
            return self._letters(text)
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    @cached_property
    def _specials(self) -> list[str]:
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        return [token.content for token in added.values() if token.special]

    @cached_property
    def _letters(self) -> Callable[[str], list[int]]:
        tokenizer = self._tokenizer
        if not tokenizer.is_fast:
            return lambda text: list(
                tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
            )
        # A copy, as the switch is one for all threads.
        copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        copy.encode_special_tokens = True
        copy.no_truncation()
        return lambda text: list(copy.encode(text, add_special_tokens=False).ids)
