"""Events at a time, ordered by (time, priority, number)."""

from __future__ import annotations

from collections.abc import Callable

import simpy

# What happens first at equal times: requests arrive, then timers and cancellations (SimPy's own
# priority is 1), then replicas end their iterations in the order of their numbers, then they begin.
ARRIVAL, TIMER, ITERATION_END, ITERATION_BEGIN = 0, 1, 2, 1 << 30


class Clock(simpy.Environment):
    """Simulated time in integer picoseconds, and whose turn it is at this time."""

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self._turn = (0, TIMER)

    def mark(self, priority: int) -> None:
        """An event of this priority happens now."""
        now = int(self.now)
        self._turn = (now, max(priority, self._turn[1]) if self._turn[0] == now else priority)

    def had_turn(self, priority: int) -> bool:
        """Whether an event of this priority would have happened by now, had it been due now."""
        now, turn = self._turn
        return now == self.now and priority <= turn


class ScheduledEvent(simpy.Event):
    """Runs ``action`` after ``delay_ps``, unless it is cancelled before."""

    def __init__(
        self, env: Clock, delay_ps: int, priority: int, action: Callable[[], object]
    ) -> None:
        super().__init__(env)
        self._clock, self._priority = env, priority
        self._action: Callable[[], object] | None = action
        self.callbacks.append(self._fire)
        self._ok = True
        self._value = None
        env.schedule(self, priority, delay_ps)  # type: ignore[arg-type]

    def cancel(self) -> None:
        self._action = None

    def _fire(self, _: simpy.Event) -> None:
        if self._action:
            if self._priority < ITERATION_BEGIN:
                self._clock.mark(self._priority)
            self._action()
