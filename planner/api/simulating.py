"""Simulating: what ``staircase simulate``, ``capacity`` and ``compare`` do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from planner.api.opening import AnyScenario, AnySchedule, check_count, schedule_of, workspace_of
from planner.evaluation import compare as comparing
from planner.progress import SILENT, Progress
from planner.results.simulated import Simulated
from planner.workspace import Workspace
from simulator.capacity import Capacity
from simulator.forecast import (
    Forecast,
    SimulatedForecaster,
    capacity_of,
    forecast_simulated,
    replicated,
)
from staircase.errors import InputError, SloError
from staircase.metrics.request_metrics import READING_RATE
from staircase.metrics.run_metrics import LIMITS, Slo
from staircase.records import read_records
from staircase.schedule import Schedule

# Requests that arrive at measured engines, unless said otherwise.
ARRIVING = 100


def simulate(
    scenario: AnyScenario,
    schedule: AnySchedule = "normal",
    *,
    requests: int | None = None,
    replicates: int = 1,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> Simulated:
    """Forecasts one schedule: with measured profiles, or on simulated engines.

    Args:
        requests: how many [default: as the scenario says].
        replicates: of simulated engines: simulations, each with other lengths, arrivals and noise.
        out: folder in which measured profiles lie [default: runs/NAME].

    Raises:
        InputError: the scenario or the schedule is wrong, or a profile is missing.
    """
    work = _with_requests(scenario, requests, replicates, out)
    if replicates > 1 and not work.scenario.simulated:
        raise InputError("replicates: needs simulated engines, whose noise can be drawn again")
    pipeline = work.scenario.pipeline.build()
    wanted = schedule_of(pipeline, schedule)
    return Simulated.of(forecast_of(work, wanted, requests, replicates, True, progress))


def forecast_of(
    work: Workspace,
    schedule: Schedule,
    requests: int | None = None,
    replicates: int = 1,
    needs_timelines: bool = False,
    progress: Progress = SILENT,
) -> Forecast:
    """The same of a workspace."""
    if not work.scenario.simulated:
        return work.profile_forecaster(requests)(schedule)
    with progress.tracking(transient=True) as track:
        return forecast_simulated(
            work.scenario,
            schedule,
            work.source,
            replicates=replicates,
            needs_timelines=needs_timelines,
            on_replicate=track("simulate", replicates),
        )


def capacity(
    scenario: AnyScenario,
    slo: Mapping[str, float],
    schedule: AnySchedule = "normal",
    *,
    share: float = 0.9,
    requests: int | None = None,
    replicates: int = 1,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> Capacity:
    """Finds the highest request rate that keeps limits of latency.

    Args:
        slo: the most that ``ttft``, ``tpot`` or ``e2e`` may be, in seconds.
        share: of the requests that must keep all limits.
        requests: how many arrive [default: as the scenario says; 100 for measured engines].
        out: folder in which measured profiles lie [default: runs/NAME].

    Raises:
        InputError: the scenario, a limit or the schedule is wrong, or a profile is missing.
    """
    work = _with_requests(scenario, requests, replicates, out)
    pipeline = work.scenario.pipeline.build()
    wanted = schedule_of(pipeline, schedule)
    return capacity_in(work, slo_of(slo), wanted, share, requests, replicates, progress)


def capacity_in(
    work: Workspace,
    slo: Slo,
    schedule: Schedule,
    share: float,
    requests: int | None = None,
    replicates: int = 1,
    progress: Progress = SILENT,
) -> Capacity:
    """The same of a workspace."""
    with progress.tracking(transient=True) as track:
        forecasters = _arriving(work, requests or ARRIVING, replicates)
        return capacity_of(forecasters, schedule, slo, share, track("rates", None))


def _arriving(work: Workspace, requests: int, replicates: int) -> list[SimulatedForecaster]:
    if work.scenario.simulated:
        return list(replicated(work.scenario, work.source, replicates))
    seeds = range(1, replicates + 1) if replicates > 1 else [0]
    return [work.arriving(requests, seed) for seed in seeds]


def compare(
    forecast: str | Path, measured: str | Path, reading_rate: float = READING_RATE
) -> comparing.RecordComparison:
    """Sets a forecast beside a measurement of the same requests, metric by metric.

    Args:
        forecast, measured: records, of Staircase, vLLM or LLMServingSim.
        reading_rate: tokens a second of the answer's reader.

    Raises:
        InputError: a file is no record, or of other requests.
    """
    records = read_records(Path(forecast)), read_records(Path(measured))
    return comparing.compare(*records, reading_rate)


def slo_of(limits: Mapping[str, float]) -> Slo:
    """Raises SloError if there is no limit, one of something else, or one that is no time."""
    if not isinstance(limits, Mapping) or not limits or not limits.keys() <= LIMITS.keys():
        raise SloError(f"slo {limits!r}: must be a mapping of {', '.join(LIMITS)} to seconds")
    for name, limit in limits.items():
        is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
        if not is_number or not 0 <= limit < math.inf:
            raise SloError(f"slo {name!r}: {limit!r} must be seconds, 0 or more")
    return Slo(**{LIMITS[name]: float(limit) for name, limit in limits.items()})


def _with_requests(
    scenario: AnyScenario, requests: int | None, replicates: int, out: str | Path | None
) -> Workspace:
    check_count("replicates", replicates)
    if requests is not None:
        check_count("requests", requests)
    return workspace_of(scenario, out).with_requests(requests)
