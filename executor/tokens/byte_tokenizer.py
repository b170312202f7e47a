"""A tokenizer for models that have none: one token a byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_PRINTABLE, PRINTABLES = 32, 95


@dataclass(frozen=True)
class ByteTokenizer:
    """Fits any vocabulary, so what it writes means nothing; only lengths do.

    Every token decodes to one printable ASCII character, so that text that is encoded again has as
    many tokens as before.
    """

    vocabulary_size: int

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [byte % self.vocabulary_size for byte in text.encode()]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return "".join(chr(FIRST_PRINTABLE + token % PRINTABLES) for token in ids)
