"""Text in which every character is a token."""

from __future__ import annotations

from collections.abc import Sequence


class Characters:
    """The tokenizer of engines that recite."""

    vocabulary = "characters"
    special_ids = frozenset[int]()

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def encode_content(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def spell(self, ids: Sequence[int]) -> str:
        return self.decode(ids)
