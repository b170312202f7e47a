"""Plays a workload in the fastest way there is: as compiled tables if it can be, else on SimPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simulator.compiled import play_compiled
from simulator.engine import EngineSetup
from simulator.simulate import simulate_all
from staircase.measured import Measured, measure_all
from staircase.metrics import READING_RATE
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.timeline import Timeline, to_s
from staircase.workload import Workload


@dataclass(frozen=True)
class EngineUse:
    """How busy an engine was; ``utilisation`` is the share of its replicas' time."""

    replicas: int
    busy_s: float
    utilisation: float


@dataclass(frozen=True)
class Run:
    """A workload that was played.

    Attributes:
        use: by engine; only those of which it is known.
        timelines: empty if they were not asked for and there was a faster way.
    """

    measured: Measured
    use: Mapping[str, EngineUse]
    timelines: Sequence[Timeline]


def run_workload(
    pipeline: Pipeline,
    schedule: Schedule,
    engines: Mapping[str, EngineSetup],
    workload: Workload,
    *,
    reading_rate: float = READING_RATE,
    needs_timelines: bool = False,
    on_slice: Callable[[int], None] = lambda requests: None,
) -> Run:
    """Plays ``workload``; ``on_slice`` hears from time to time how many requests have begun.

    Raises:
        WorkloadError: a request does not say how much some agent writes.
    """
    played = play_compiled(
        pipeline, schedule, engines, workload, keeps_all_times=needs_timelines, on_slice=on_slice
    )
    if played is None:
        found = simulate_all(pipeline, schedule, engines, workload)
        measured = measure_all(found.timelines, reading_rate)
        return Run(measured, _use(found.busy_ps, measured.duration_s), found.timelines)
    measured = played.measured(reading_rate)
    lines = played.timelines() if needs_timelines else ()
    return Run(measured, _use(played.busy_ps, measured.duration_s), lines)


def _use(busy_ps: Mapping[str, Sequence[int]], duration_s: float) -> dict[str, EngineUse]:
    return {
        name: EngineUse(len(busy), to_s(sum(busy)), to_s(sum(busy)) / (len(busy) * duration_s))
        for name, busy in busy_ps.items()
        if busy
    }


def mean_use(uses: Sequence[Mapping[str, EngineUse]]) -> dict[str, EngineUse]:
    """The mean over replicates, by engine."""
    return {
        name: EngineUse(
            first.replicas,
            sum(use[name].busy_s for use in uses) / len(uses),
            sum(use[name].utilisation for use in uses) / len(uses),
        )
        for name, first in uses[0].items()
    }
