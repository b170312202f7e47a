"""Plays a workload in the fastest way there is: as compiled tables if it can be, else on SimPy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.compiled.play import play_compiled
from simulator.compiled.results import PlayedTimelines
from simulator.des.batching import BatchingSetup
from simulator.des.simulate import simulate_all
from simulator.engine import EngineSetup
from simulator.unread import unread_of_tables, unread_of_timeline
from staircase.metrics.measured import Measured, measure_all
from staircase.metrics.request_metrics import READING_RATE, Floats
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.timeline import Timeline, to_s
from staircase.workload import Workload


@dataclass(frozen=True)
class EngineUse:
    """How busy an engine was.

    Attributes:
        busy_s: time of its own iterations, all replicas together; not what they waited for others
            on a shared device.
        utilisation: ``busy_s`` as a share of the time of its devices: one for each replica, or the
            one that they name. So engines that share a device add up to that device's.
    """

    replicas: int
    busy_s: float
    utilisation: float


class TokenUse(NamedTuple):
    """Tokens of an engine's calls, all requests together."""

    prefilled: int
    cached: int
    written: int


@dataclass(frozen=True)
class Run:
    """A workload that was played.

    Attributes:
        unread: share of each request (``simulator.unread``).
        use: by engine; only those of which it is known.
        tokens: by engine.
        timelines: empty if they were not asked for and there was a faster way.
    """

    measured: Measured
    unread: Floats
    use: Mapping[str, EngineUse]
    tokens: Mapping[str, TokenUse]
    timelines: Sequence[Timeline]


def run_workload(
    pipeline: Pipeline,
    schedule: Schedule,
    engines: Mapping[str, EngineSetup],
    workload: Workload,
    *,
    reading_rate: float = READING_RATE,
    needs_timelines: bool = False,
) -> Run:
    """Plays ``workload``.

    Raises:
        WorkloadError: a request does not say how much some agent writes.
    """
    played = play_compiled(pipeline, schedule, engines, workload, keeps_all_times=needs_timelines)
    if played is None:
        found = simulate_all(pipeline, schedule, engines, workload)
        measured = measure_all(found.timelines, reading_rate)
        pairs = zip(found.timelines, workload.requests, strict=True)
        unread = np.array(
            [unread_of_timeline(pipeline, schedule, line, shape) for line, shape in pairs]
        )
        use = _use(engines, found.busy_ps, measured.duration_s)
        tokens = _tokens_of(pipeline, found.timelines)
        return Run(measured, unread, use, tokens, found.timelines)
    measured = played.measured(reading_rate)
    lines = PlayedTimelines(played) if needs_timelines else ()
    numbers = played.requests["table"]
    firsts = [workload.requests[place] for place in np.unique(numbers, return_index=True)[1]]
    unread = unread_of_tables(pipeline, played.tables, firsts)[numbers]
    use = _use(engines, played.busy_ps, measured.duration_s)
    tokens = {name: TokenUse(*counts) for name, counts in played.tokens().items()}
    return Run(measured, unread, use, tokens, lines)


def _tokens_of(pipeline: Pipeline, timelines: Iterable[Timeline]) -> dict[str, TokenUse]:
    found = dict.fromkeys(pipeline.engines, TokenUse(0, 0, 0))
    spans = (span for timeline in timelines for span in timeline.spans)
    for span in (span for span in spans if span.engine in found):
        before = found[span.engine]
        found[span.engine] = TokenUse(
            before.prefilled + span.prefilled_tokens,
            before.cached + span.cached_tokens,
            before.written + span.made_tokens,
        )
    return found


def _use(
    engines: Mapping[str, EngineSetup], busy_ps: Mapping[str, Sequence[int]], duration_s: float
) -> dict[str, EngineUse]:
    found = {}
    for name, busy in busy_ps.items():
        if busy:
            device_s = duration_s * _devices(engines[name], len(busy))
            busy_s = to_s(sum(busy))
            found[name] = EngineUse(len(busy), busy_s, busy_s / device_s)
    return found


def _devices(setup: EngineSetup, replicas: int) -> int:
    is_shared = isinstance(setup, BatchingSetup) and setup.device is not None
    return 1 if is_shared else replicas


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
