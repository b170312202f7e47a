"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

Track = Callable[[str, int | None], Callable[[], None]]
"""Of a kind of step, and how many there will be if it is known: called after every step."""


def no_track(what: str, total: int | None) -> Callable[[], None]:
    return lambda: None


class Tracking(Protocol):
    def __call__(
        self, transient: bool = False, between_steps: bool = False
    ) -> AbstractContextManager[Track]:
        """For one piece of work.

        Args:
            transient: nothing of it is left to see in the end.
            between_steps: to draw meanwhile would disturb what is measured.
        """
        ...


@contextmanager
def _untracked(transient: bool = False, between_steps: bool = False) -> Iterator[Track]:
    yield no_track


@dataclass(frozen=True)
class Progress:
    """Who hears of long work; as it stands, nobody.

    Attributes:
        say: hears lines: what goes on where it was, what is odd about prompts.
    """

    tracking: Tracking = _untracked
    say: Callable[[Iterable[str]], None] = lambda words: None

    def within(self, track: Track) -> Progress:
        """The same for work that is part of what ``track`` shows."""

        def tracking(
            transient: bool = False, between_steps: bool = False
        ) -> AbstractContextManager[Track]:
            return nullcontext(track)

        return replace(self, tracking=tracking)


SILENT = Progress()
