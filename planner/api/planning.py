"""Planning: what ``staircase plan`` does.

from planner import plan

found = plan("examples/two_layers.yaml", slo={"ttft": 2.0})
found.best("smooth_start").schedule
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from planner.api.explaining import report_or_why_not
from planner.api.opening import AnyScenario, check_count, workspace_of
from planner.figures.objectives import Goals, parse_limits, parse_objectives
from planner.progress import SILENT, Progress, Track
from planner.report.explaining import explained
from planner.results.plans import Plan, save_plan
from planner.search.cached_forecasts import NO_STORE, TrialStore
from planner.search.journal import remove_journal
from planner.search.parallel_forecasts import backend_of
from planner.search.search import search
from planner.search.storage import open_storage
from planner.search.stored_trials import StoredTrials
from planner.sole_use import sole_use
from planner.workspace import Workspace
from simulator.forecaster import Forecaster
from simulator.profile_forecaster import ProfileForecaster
from staircase.trace import write_trace


def plan(
    scenario: AnyScenario,
    *,
    objectives: Sequence[str] | None = None,
    slo: Mapping[str, float] | None = None,
    trials: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    write: bool = False,
    workers: int = 1,
    ray: str | None = None,
    progress: Progress = SILENT,
) -> Plan:
    """Searches schedules on the simulator: with measured profiles, or on simulated engines.

    Args:
        scenario: a scenario file, or one that was loaded; paths in the latter are counted from
            the working directory.
        objectives: figures of a forecast, as in ``ttft.p90``, instead of the scenario's.
        slo: the most that a figure may be (of quality and score the least), in seconds, beside
            the scenario's limits: ``{"ttft.p90": 0.5, "quality": 0.97}``.
        trials: schedules to try.
        out: folder of results, in which measured profiles lie [default: runs/NAME].
        write: keep the forecasts there while the search goes on, so that a search that was killed
            goes on where it was, and in the end ``plan.json``, ``report.html``, ``trace.json``.
        workers: processes that simulate, on this machine.
        ray: address of a Ray cluster that simulates instead.

    Raises:
        InputError: the scenario, an objective or a limit is wrong, a profile is missing, or no
            schedule is within the limits.
    """
    check_count("workers", workers)
    work = workspace_of(scenario, out).with_plan(_changes(objectives, trials, seed))
    if slo is not None:
        work = work.with_limits(parse_limits(slo, "slo"))
    return plan_of(work, work.forecaster(), write, workers, ray, progress=progress)


def plan_of(
    work: Workspace,
    forecaster: Forecaster,
    write: bool = True,
    workers: int = 1,
    ray: str | None = None,
    hashes: Mapping[str, str] | None = None,
    what: str = "search",
    progress: Progress = SILENT,
) -> Plan:
    """The same of a workspace, asking a ``forecaster``.

    Args:
        hashes: of the profiles that it asks; None: of the stored ones.
        what: the search is called so in the progress.
    """
    hashes = hashes or work.profile_hashes()
    with sole_use(work.folder, "plan") if write else nullcontext():
        trials: AbstractContextManager[TrialStore] = (
            _trials(work, forecaster, hashes, progress) if write else nullcontext(NO_STORE)
        )
        with trials as store, progress.tracking() as track:
            with backend_of(forecaster, workers, ray) as backend:
                step = track(what, work.scenario.plan.trials)
                held_out = _held_out(work, forecaster)
                found = search(work.scenario, forecaster, hashes, step, store, backend, held_out)
            found = explained(found, work.scenario.plan, forecaster, _explaining(track))
        if write:
            _write(work, found, progress)
    return found


def _held_out(work: Workspace, forecaster: Forecaster) -> Forecaster | None:
    return work.held_out(forecaster.latency if isinstance(forecaster, ProfileForecaster) else None)


def _explaining(track: Track) -> Callable[[], None]:
    """Shown from the first step on: there need be none."""
    begun = cache(lambda: track("around the choice", None))
    return lambda: begun()()


def _write(work: Workspace, found: Plan, progress: Progress) -> None:
    """The files of a plan that is finished; what the search kept meanwhile is no longer needed."""
    save_plan(work.plan_path, found)
    report_or_why_not(work.report_path, found, None, progress)
    assert found.explanation is not None
    lines = found.explanation.timelines
    write_trace(work.trace_path, {f"simulated {name}": [one] for name, one in lines.items()})
    if work.scenario.plan.storage is None:
        remove_journal(work.trials_path)


@contextmanager
def _trials(
    work: Workspace, forecaster: Forecaster, hashes: Mapping[str, str], progress: Progress
) -> Iterator[TrialStore]:
    """Those that were made before and those to come, where the workspace keeps them."""
    storage = open_storage(work.storage)
    has_inputs = bool(forecaster.pipeline.inputs)
    goals = Goals.of(work.scenario.plan, forecaster.knows_quality, has_inputs)
    with StoredTrials(storage, work.search_name(hashes), goals) as log:
        if len(log):
            progress.say([f"going on with {len(log)} forecasts of {storage.where}"])
        yield log


def _changes(
    objectives: Sequence[str] | None, trials: int | None, seed: int | None
) -> dict[str, Any]:
    given: dict[str, Any] = {"trials": trials, "seed": seed}
    if objectives is not None:
        words = objectives if isinstance(objectives, str) else list(objectives)
        given["objectives"] = words
        parse_objectives(words)
    return {name: value for name, value in given.items() if value is not None}
