"""Schedules around one: one parameter has its next smaller or larger value, or another kind.

Sizes are those of the scenario's ``plan`` settings. Staircases that are alike change alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from planner.search.importance import family_of, parameters_of
from planner.search.space import at_once_of
from staircase.errors import ScheduleError
from staircase.pipeline import Pipeline
from staircase.schedule import (
    REBUILT_LAYOUTS,
    Schedule,
    Staircase,
    Step,
    constant,
    geometric,
    parse_barrier,
    parse_checked,
    parse_window,
    proposers_of,
)
from staircase.spec.plan_spec import PlanSpec

Change = Callable[[Staircase], Staircase]


@dataclass(frozen=True)
class Variation:
    """A schedule that differs in one parameter, and what it has there."""

    parameter: str
    value: str
    schedule: Schedule


def neighbours_of(schedule: Schedule, spec: PlanSpec, pipeline: Pipeline) -> Iterator[Variation]:
    """Variations of ``schedule`` by the staircase of the answering agent."""
    answer = pipeline.answer
    for layout in spec.layouts:
        is_able = layout in REBUILT_LAYOUTS or not (schedule.checks or schedule.window)
        if layout != schedule.layout and is_able:
            yield Variation("layout", layout, replace(schedule, layout=layout))
    yield from _by_option(schedule, spec)
    yield from _by_one_proposer(schedule, spec, pipeline)
    staircase = schedule.staircases.get(answer, Staircase())
    for parameter, value, change in _changes(schedule, staircase, spec, answer):
        try:
            changed = change(staircase)
        except ScheduleError:
            continue  # As when a first step would read more than the second.
        if changed != staircase:
            yield Variation(parameter, value, _everywhere(schedule, staircase, changed))


def _by_option(schedule: Schedule, spec: PlanSpec) -> Iterator[Variation]:
    """Another value of an option from which the search may choose."""
    for word in spec.barrier:
        barrier = parse_barrier(word)
        if barrier != schedule.barrier:
            yield Variation("barrier", word, replace(schedule, barrier=barrier))
    for word in spec.window if schedule.layout in REBUILT_LAYOUTS else ():
        window = parse_window(word)
        if window != schedule.window:
            yield Variation("window", word, replace(schedule, window=window))
    for level in map(parse_checked, map(str, spec.checked)):
        if level != schedule.checked and schedule.layout in REBUILT_LAYOUTS:
            show = schedule.show if level != 0 else "settled"
            changed = replace(schedule, checked=level, show=show)
            yield Variation("checked", "all" if level is None else str(level), changed)
    for show in spec.show if schedule.checks else ():
        if show != schedule.show:
            yield Variation("show", show, replace(schedule, show=show))
    for count in spec.at_once:
        at_once = at_once_of(count)
        if at_once != schedule.at_once:
            yield Variation("at_once", str(count), replace(schedule, at_once=at_once))


def _by_one_proposer(schedule: Schedule, spec: PlanSpec, pipeline: Pipeline) -> Iterator[Variation]:
    """One more is asked, or one less."""
    for name in proposers_of(pipeline):
        changed = replace(schedule, without=tuple({*schedule.without} ^ {name}))
        if len(changed.without) <= spec.leave_out and changed.leaves_somebody(pipeline):
            yield Variation("without", ", ".join(changed.without) or "nobody", changed)


def _changes(
    schedule: Schedule, staircase: Staircase, spec: PlanSpec, answer: str
) -> Iterator[tuple[str, str, Change]]:
    sizes = parameters_of(schedule, answer)
    if staircase.is_normal:
        return
    for value in _next_to(sizes["first"], spec.first):
        yield "first", str(value), partial(_with_first, value)
    for value in _next_to(sizes.get("chunk", 0), spec.chunk) if staircase.growth else ():
        yield "chunk", str(value), partial(_with_chunk, value)
    for value in _next_to(sizes.get("write", 0), spec.write):
        yield "write", str(value), partial(_with_write, value)
    first, chunk, write = (sizes.get(name, 1) for name in ("first", "chunk", "write"))
    if family_of(staircase) != "constant":
        yield "family", "constant", lambda _: constant(first, chunk, write)
    for ratio in spec.ratio:
        words = f"growing by {ratio:g}"
        yield "family", words, partial(_geometric, first, ratio, max(first, chunk), write)


def _next_to(value: int, values: Sequence[int]) -> list[int]:
    """The next smaller and the next larger one."""
    smaller, larger = [v for v in values if v < value], [v for v in values if v > value]
    return [*([max(smaller)] if smaller else []), *([min(larger)] if larger else [])]


def _with_first(read: int, staircase: Staircase) -> Staircase:
    """What later steps read beyond it stays."""
    more = read - (staircase.steps[0].read or 0)
    steps = [replace(s, read=None if s.read is None else s.read + more) for s in staircase.steps]
    return Staircase(tuple(steps), staircase.growth)


def _with_chunk(read: int, staircase: Staircase) -> Staircase:
    assert staircase.growth is not None
    return replace(staircase, growth=replace(staircase.growth, read=read))


def _with_write(write: int, staircase: Staircase) -> Staircase:
    """Every step writes as many times more, or less, as the first one."""
    factor = write / (staircase.steps[0].write or write)

    def scaled(step: Step) -> Step:
        return replace(step, write=step.write and max(1, round(step.write * factor)))

    growth = staircase.growth and scaled(staircase.growth)
    return Staircase(tuple(scaled(step) for step in staircase.steps), growth)


def _geometric(first: int, ratio: float, cap: int, write: int, _: Staircase) -> Staircase:
    return geometric(first, ratio, cap, write)


def _everywhere(schedule: Schedule, old: Staircase, new: Staircase) -> Schedule:
    staircases = {
        name: new if staircase == old else staircase
        for name, staircase in schedule.staircases.items()
    }
    return replace(schedule, staircases=staircases)
