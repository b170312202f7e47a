"""Seconds that a measurement may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class TimeBudget:
    """Counts from when it was made; ``seconds``: None for as long as it takes."""

    def __init__(self, seconds: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._began = now()

    def is_left(self, share: float) -> bool:
        """Whether not more than ``share`` of it has passed."""
        return self._seconds is None or self._now() - self._began <= share * self._seconds

    def blocks(self, blocks: Iterable[T], until: float) -> Iterator[T]:
        """The first of ``blocks``, and more while there is time for one that takes as long.

        Args:
            until: share of the budget, from its beginning, by which they are to be done.
        """
        for block in blocks:
            began = self._now()
            yield block
            now = self._now()
            if self._seconds is not None and 2 * now - began - self._began > until * self._seconds:
                return
