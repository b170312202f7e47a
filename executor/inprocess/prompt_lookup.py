"""Prompt lookup: a text is guessed to go on as it did the last time it said the same.

Who writes an answer from drafts repeats much of them. What followed the last few tokens where they
stood before is therefore often what follows now, and a model that is given it finds out in one pass
how much of it it would have written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class PromptLookup:
    """How a text is looked up in itself.

    Attributes:
        tokens: guessed at once, at most.
        ngram: so many tokens at the text's end are looked for, at most.
        min_ngram: and at least. Fewer are found more often, and tell less.
    """

    tokens: int = 12
    ngram: int = 3
    min_ngram: int = 3


class GrowingText:
    """A text, and what followed wherever ``min_ngram`` to ``ngram`` tokens of it stood."""

    def __init__(self, ngram: int, min_ngram: int, tokens: Iterable[int] = ()) -> None:
        self._ngram = ngram
        self._min_ngram = min_ngram
        self._tokens: list[int] = []
        # By n-gram: the place after the latest one that a token follows.
        self._next: dict[tuple[int, ...], int] = {}
        self.extend(tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Costs the same for every token, however long the text is."""
        start = len(self._tokens)
        self._tokens += tokens
        for size in range(self._min_ngram, self._ngram + 1):
            first = max(0, start - size)
            text = self._tokens[first:]
            ngrams = zip(*(text[place:] for place in range(size)), strict=False)
            self._next.update(zip(ngrams, range(first + size, len(self._tokens)), strict=False))

    def guess(self, most: int) -> list[int]:
        """``most`` tokens as after the longest ending that is not new; none if all are.

        What they run over the end into is the guess itself: a text that goes in circles is guessed
        to go on so.
        """
        places = (self._next[ending] for ending in self._endings() if ending in self._next)
        place = next(places, None)
        if place is None:
            return []
        copied = self._tokens[place : place + most]
        while len(copied) < most:
            copied += copied[: most - len(copied)]
        return copied

    def _endings(self) -> Iterator[tuple[int, ...]]:
        """The n-grams that end it, longest first."""
        tail = tuple(self._tokens[-self._ngram :])
        return (tail[start:] for start in range(len(tail) - self._min_ngram + 1))
