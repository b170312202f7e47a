"""I4: equal times are ordered by (time, priority, number)."""

from __future__ import annotations

import random
from functools import partial

from simulator.event_queue import (
    ARRIVAL,
    ITERATION_BEGIN,
    ITERATION_END,
    TIMER,
    Clock,
    ScheduledEvent,
)


def test_equal_times_are_ordered() -> None:
    expected = [
        (time, priority)
        for time in (0, 5)
        for priority in (ARRIVAL, TIMER, ITERATION_END, ITERATION_END + 1, ITERATION_BEGIN)
    ]
    for seed in range(20):
        rang: list[tuple[int, int]] = []
        clock = Clock()
        for time, priority in random.Random(seed).sample(expected, len(expected)):
            ScheduledEvent(clock, time, priority, partial(rang.append, (time, priority)))
        clock.run()
        assert rang == expected


def test_a_cancelled_event_does_not_happen() -> None:
    clock = Clock()
    rang: list[float] = []
    event = ScheduledEvent(clock, 3, TIMER, lambda: rang.append(clock.now))
    ScheduledEvent(clock, 4, TIMER, lambda: rang.append(clock.now))
    event.cancel()
    clock.run()
    assert rang == [4]


def test_who_has_had_a_turn_at_this_time() -> None:
    clock = Clock()
    said: list[bool] = []

    def ask() -> None:
        said.append(clock.had_turn(ITERATION_END + 1))

    for priority in (ITERATION_END, ITERATION_END + 1, ITERATION_END + 2):
        ScheduledEvent(clock, 7, priority, ask)
    ScheduledEvent(clock, 8, ARRIVAL, ask)
    clock.run()
    assert said == [False, True, True, False]
