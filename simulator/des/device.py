"""A device whose users take turns: one iteration each, round robin."""

from __future__ import annotations

from typing import Protocol

from simulator.event_queue import ITERATION_BEGIN, Clock, ScheduledEvent
from staircase.turns import next_in_turn


class SimulatedTurnTaker(Protocol):
    @property
    def has_work(self) -> bool: ...

    def begin_turn(self, is_alone: bool) -> None:
        """Begins an iteration and tells the device when it is over.

        If nobody else has work, a turn may be a run of iterations that ``cut`` can end.
        """
        ...

    def cut(self) -> None:
        """There is new work: the turn ends with the iteration under way."""
        ...


class SimulatedDevice:
    """Gives its users turns (``staircase.turns``)."""

    def __init__(self, env: Clock, number: int) -> None:
        self._env = env
        self._priority = ITERATION_BEGIN + number
        self._users: list[SimulatedTurnTaker] = []
        self._last = 0
        self._current: SimulatedTurnTaker | None = None
        self._is_beginning = False

    def attach(self, user: SimulatedTurnTaker) -> None:
        self._users.append(user)

    def wake(self) -> None:
        """A user has new work."""
        if self._current:
            self._current.cut()
        else:
            self._begin_soon()

    def end_turn(self) -> None:
        self._current = None
        self._begin_soon()

    def _begin_soon(self) -> None:
        """After everything else that happens at this time."""
        if not self._is_beginning:
            self._is_beginning = True
            ScheduledEvent(self._env, 0, self._priority, self._begin)

    def _begin(self) -> None:
        self._is_beginning = False
        have_work = [user.has_work for user in self._users]
        number = next_in_turn(have_work, self._last)
        if number is not None:
            self._last = number
            self._current = self._users[number]
            self._current.begin_turn(is_alone=sum(have_work) == 1)


def shared_device(env: Clock, shared: dict[str, object], name: str, number: int) -> SimulatedDevice:
    """The device of this name; who asks first makes it, and it gets that replica's number."""
    device = shared.setdefault(f"device {name}", SimulatedDevice(env, number))
    assert isinstance(device, SimulatedDevice)
    return device
