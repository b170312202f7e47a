"""Who is played at a time: what a request takes says how fast engines are if nobody else was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Presence:
    """Requests of all plans of a server; used on one event loop."""

    active: int = 0
    begun: int = 0

    @contextmanager
    def entered(self) -> Iterator[Callable[[], bool]]:
        """Gives what tells whether nobody else has been there since the entry."""
        self.begun += 1
        self.active += 1
        number, was_alone = self.begun, self.active == 1
        try:
            yield lambda: was_alone and self.begun == number
        finally:
            self.active -= 1
