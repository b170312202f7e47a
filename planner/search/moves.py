"""Free staircases: what one small change makes of the steps that a schedule begins with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from staircase.schedule import Schedule, Staircase, Step

# How many steps of a staircase that grows without end are free to move.
STEPS = 12
SHARES = (0.5, 0.75, 1.25, 1.5)


def moves_of(schedule: Schedule) -> Iterator[Schedule]:
    """Schedules that differ in one step: it reads or writes more or less, is split, or left out.

    All staircases change alike where they were alike.
    """
    for staircase in dict.fromkeys(schedule.staircases.values()):
        if not staircase.is_normal:
            for moved in _moved(_opened(staircase)):
                yield replace(
                    schedule,
                    staircases={
                        name: moved if old == staircase else old
                        for name, old in schedule.staircases.items()
                    },
                )


def _opened(staircase: Staircase) -> Staircase:
    """The same with its first steps written out."""
    count = max(STEPS, len(staircase.steps)) if staircase.growth else len(staircase.steps)
    steps = tuple(staircase.step(number) for number in range(count))
    return Staircase(steps, staircase.growth)


def _moved(staircase: Staircase) -> Iterator[Staircase]:
    for place in range(len(staircase.steps)):
        before = staircase.steps[place - 1].read if place else 0
        for steps in _changed(staircase.steps[place], before or 0, staircase.steps[place + 1 :]):
            yield Staircase(staircase.steps[:place] + steps, staircase.growth)


def _changed(step: Step, before: int, after: tuple[Step, ...]) -> Iterator[tuple[Step, ...]]:
    """What may stand in place of ``step`` and all ``after`` it, which has read ``before``."""
    if step.read is None or step.write is None:
        return
    most = next((later.read for later in after), None)
    for share in SHARES:
        read = before + max(1, round((step.read - before) * share))
        if read != step.read and (most is None or read <= most):
            yield (Step(read, step.write), *after)
        write = max(1, round(step.write * share))
        if write != step.write:
            yield (Step(step.read, write), *after)
    if step.write > 1 and step.read - before > 1:
        yield (*_halves(step, before), *after)
    if after:
        yield after


def _halves(step: Step, before: int) -> tuple[Step, Step]:
    assert step.read is not None
    assert step.write is not None
    middle, half = (before + step.read) // 2, step.write // 2
    return Step(middle, half), Step(step.read, step.write - half)
