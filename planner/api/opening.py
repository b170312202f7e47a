"""What every function of the front door begins with: a workspace, and a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from planner.workspace import Workspace
from staircase.errors import InputError, ScheduleError
from staircase.pipeline import Pipeline
from staircase.schedule import (
    Schedule,
    parse_barrier,
    parse_checked,
    parse_staircase,
    parse_window,
)
from staircase.spec.scenario import Scenario

AnyScenario = str | Path | Scenario
"""A scenario file, or one that was loaded, whose paths count from the working directory."""
AnySchedule = str | Schedule
"""A schedule, or a staircase in words for every agent that reads, as ``constant:8,16,16``."""


def workspace_of(scenario: AnyScenario, out: str | Path | None = None) -> Workspace:
    """The scenario with its folder of results, ``out`` or runs/NAME.

    Raises:
        InputError: it is no scenario, or a wrong one.
    """
    if not isinstance(scenario, str | Path | Scenario):
        raise InputError(f"scenario: {scenario!r} must be a scenario file or a Scenario")
    folder = None if out is None else Path(out)
    if isinstance(scenario, Scenario):
        return Workspace(scenario, Path(), folder or Path("runs") / scenario.name)
    return Workspace.open(Path(scenario), folder)


def schedule_of(pipeline: Pipeline, schedule: AnySchedule) -> Schedule:
    return uniform_schedule(pipeline, schedule) if isinstance(schedule, str) else schedule


def uniform_schedule(
    pipeline: Pipeline,
    staircase: str,
    layout: str = "append_rounds",
    barrier: str = "all",
    reading: str = "exact",
    starve: str = "wait",
    without: Sequence[str] = (),
    at_once: int | None = None,
    checked: str = "0",
    show: str = "settled",
    window: str = "none",
    revision: str = "rewrite",
) -> Schedule:
    """The same staircase for every reading agent; all in words, as of ``staircase simulate``.

    Raises:
        ScheduleError: a word is wrong, or nobody reads.
    """
    steps = parse_staircase(staircase)
    if not pipeline.readers and not steps.is_normal:
        raise ScheduleError("--staircase has no effect here: no agent reads another's text")
    return Schedule(
        {agent.name: steps for agent in pipeline.readers},
        layout,  # type: ignore[arg-type]
        parse_barrier(barrier),
        reading,  # type: ignore[arg-type]
        starve,  # type: ignore[arg-type]
        without=tuple(without),
        at_once=at_once,
        checked=parse_checked(checked),
        show=show,  # type: ignore[arg-type]
        window=parse_window(window),
        revision=revision,  # type: ignore[arg-type]
    )


def check_count(name: str, value: object) -> None:
    """Raises InputError unless ``value`` is a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name}: {value!r} must be a whole number, 1 or more")
