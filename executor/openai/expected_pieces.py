"""Pieces of a text that is expected, however the server's chunks cut it.

A token of a server that speaks text is a piece of it, as it came. A text that is written anew comes
in other pieces, above all where the server got it as a prediction; where it is the same text it
has to be the same tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from executor.openai.restating import Seam, Unseamed
from executor.openai.vocabularies import TextPieces


class ExpectedPieces:
    """What comes after ``seam``, cut as ``expected`` is while it says the same.

    Letters are held back only while they may still complete the next piece.
    """

    def __init__(self, seam: Seam | Unseamed, expected: Sequence[int], pieces: TextPieces) -> None:
        self._seam = seam
        self._expected = deque(expected)
        self._pieces = pieces
        self._held: deque[str] = deque()

    def pass_on(self, tokens: Sequence[int]) -> list[int]:
        """What can be shown after ``tokens`` came."""
        return self._take(self._seam.pass_on(tokens))

    def rest(self) -> list[int]:
        """What is held back though nothing more comes."""
        shown = self._take(self._seam.rest())
        self._expected.clear()
        return [*shown, *self._released()]

    def _take(self, tokens: Sequence[int]) -> list[int]:
        if not self._expected:
            return list(tokens)
        self._held.extend(self._pieces.decode([token]) for token in tokens)
        return list(self._matched()) + ([] if self._expected else self._released())

    def _matched(self) -> Iterator[int]:
        text = "".join(self._held)
        while self._expected and text:
            piece = self._pieces.decode([self._expected[0]])
            if not text.startswith(piece):
                if not piece.startswith(text):
                    self._expected.clear()
                return
            yield self._expected.popleft()
            text = text[len(piece) :]
            self._drop(len(piece))

    def _drop(self, letters: int) -> None:
        while letters:
            first = self._held.popleft()
            if len(first) > letters:
                self._held.appendleft(first[letters:])
            letters -= min(letters, len(first))

    def _released(self) -> list[int]:
        shown = [self._pieces.piece(text) for text in self._held]
        self._held.clear()
        return shown
