"""Which tokens of a text stand, where what was written can be replaced.

A text only grows: what is written in place of something stands behind it, so a token's place in its
text names it for good, and a prompt's segments tell old words from new ones. Who counts tokens that
were written or read counts those that stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# Ranges of places, rising.
Pieces = Sequence[tuple[int, int]]


@dataclass
class StandingText:
    """Of one agent.

    Attributes:
        kept: ranges of places that stand, rising.
        grows_from: what is written from this place on stands behind them; None: what is being
            written does not stand.
    """

    kept: list[tuple[int, int]] = field(default_factory=list)
    grows_from: int | None = 0

    def count(self, written: int) -> int:
        """Tokens that stand, when so many were ``written``."""
        kept = sum(stop - start for start, stop in self.kept)
        return kept if self.grows_from is None else kept + written - self.grows_from

    def place(self, count: int) -> int:
        """How many tokens have to be written for ``count`` to stand, if nothing more falls."""
        kept = sum(stop - start for start, stop in self.kept)
        return (self.grows_from or 0) + count - kept

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Places of the tokens ``start`` to ``stop`` of those that stand."""
        passed = 0
        for first, last in [*self.kept, (self.grows_from or 0, self.place(stop))]:
            begin, end = max(start - passed, 0), min(stop - passed, last - first)
            if begin < end:
                yield first + begin, first + end
            passed += last - first

    def cut(self, count: int, written: int, grows_from: int | None) -> None:
        """Of what stands when ``written`` were written, only ``count`` tokens do from now on."""
        whole = list(self.pieces(0, min(count, self.count(written))))
        self.kept, self.grows_from = whole, grows_from


def numbers(pieces: Pieces, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Which of the tokens that stand, at the places of ``pieces``, are at ``start`` to ``stop``."""
    passed = 0
    for first, last in pieces:
        begin, end = max(start, first), min(stop, last)
        if begin < end:
            yield passed + begin - first, passed + end - first
        passed += last - first
