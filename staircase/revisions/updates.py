"""Inputs that replace part of what they said: what a recogniser has heard so far, search results.

Each update says what is there now. What it begins with alike stays; the rest of what was there does
not stand any more, and what the update has instead follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from staircase.errors import WorkloadError


class Update(NamedTuple):
    """``seconds`` after its request came only the first ``standing`` tokens of an input stand, and
    ``tokens`` more follow them."""

    seconds: float
    standing: int
    tokens: int


class Coming(NamedTuple):
    """An update in its place: ``before`` tokens had been written, of which ``stood`` stood."""

    update: Update
    before: int
    stood: int

    @property
    def replaces(self) -> bool:
        return self.update.standing < self.stood


def in_turn(updates: Sequence[Update]) -> Iterator[Coming]:
    before, stood = 0, 0
    for update in updates:
        yield Coming(update, before, stood)
        before, stood = before + update.tokens, update.standing + update.tokens


def written_tokens(updates: Sequence[Update]) -> int:
    """All that are written, whether they stand at the end or not."""
    return sum(update.tokens for update in updates)


def check_updates(updates: Sequence[Update], where: str) -> None:
    """Raises WorkloadError unless they come one after the other and keep only what is there."""
    for number, (update, _, stood) in enumerate(in_turn(updates), start=1):
        if not 0 <= update.standing <= stood or update.tokens < 0:
            raise WorkloadError(
                f"{where}: update {number} keeps {update.standing} tokens and adds "
                f"{update.tokens}; {stood} are there to be kept"
            )
    seconds = [0.0, *(update.seconds for update in updates)]
    if any(later < earlier for earlier, later in pairwise(seconds)):
        raise WorkloadError(f"{where}: updates must come at 0 s or later, and in order")
