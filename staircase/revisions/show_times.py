"""When a reader is shown the tokens of an answer, part of which may be held back for a while."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class ShowTimes:
    """Of one answer.

    Attributes:
        times_ps: of the tokens that stand, when each was shown; of those that are not, when it was
            written.
        shown: the first so many of them are shown.
        retracted: tokens that were shown and do not stand any more.
    """

    times_ps: list[int] = field(default_factory=list)
    shown: int = 0
    retracted: int = 0

    def add(self, times_ps: Iterable[int], is_shown: bool) -> None:
        """Tokens that were written; they are shown only where all before them are."""
        is_shown = is_shown and self.shown == len(self.times_ps)
        self.times_ps += times_ps
        if is_shown:
            self.shown = len(self.times_ps)

    def show(self, count: int, now_ps: int) -> None:
        """The first ``count`` tokens, of which some are shown already."""
        for place in range(self.shown, count):
            self.times_ps[place] = now_ps
        self.shown = max(self.shown, count)

    def retract(self, standing: int) -> None:
        """Only the first ``standing`` tokens stand."""
        self.retracted += max(self.shown - standing, 0)
        self.shown = min(self.shown, standing)
        del self.times_ps[standing:]
