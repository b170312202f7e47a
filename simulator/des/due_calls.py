"""Calls whose times are known ahead: who is told when."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from simulator.engine import Key
from simulator.event_queue import Clock, ScheduledEvent


class DueCalls:
    """Tells all that is due at a time in one turn, in the order in which the calls came.

    Args:
        priority: of its turn among all that happens at the same time.
        tell: hears when a call was expected to be due, and its key; the call may be over, or be
            due at another time by then.
    """

    def __init__(self, env: Clock, priority: int, tell: Callable[[int, Key], None]) -> None:
        self._env = env
        self._priority = priority
        self._tell = tell
        self._due: list[tuple[int, int, Key]] = []

    def expect(self, due_ps: int, number: int, key: Key) -> None:
        """``number``: of the call, in the order of coming."""
        heappush(self._due, (due_ps, number, key))
        delay_ps = max(due_ps - int(self._env.now), 0)
        ScheduledEvent(self._env, delay_ps, self._priority, self._turn)

    @property
    def until_ps(self) -> int:
        """What is due by then is there: at this very time if the turn has been."""
        now = int(self._env.now)
        return now if self._env.had_turn(self._priority) else now - 1

    def _turn(self) -> None:
        while self._due and self._due[0][0] <= self._env.now:
            due_ps, _, key = heappop(self._due)
            self._tell(due_ps, key)
