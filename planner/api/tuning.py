"""Tuning: what ``staircase tune`` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.line_log import ItemLog
from planner.api.engines import engines_of
from planner.api.opening import AnyScenario, check_count, workspace_of
from planner.api.planning import plan_of
from planner.kept_work import kept_work
from planner.progress import SILENT, Progress
from planner.results.plans import Plan
from planner.sole_use import sole_use
from planner.tuning.pace import reference_of
from planner.tuning.run_log import PlayedRun
from planner.tuning.tune import Tuner
from planner.tuning.tuning_rounds import Tuned, TuningEffort
from planner.workspace import Workspace
from profiles.latency.profile import LatencyProfile, latency_hash, save_latency
from profiles.store import content_hash, stored_hash
from staircase.bounds import LEAST_BUDGET_S, LEAST_TOLERANCE, LONGEST_RUN_S, MOST_TOLERANCE
from staircase.errors import InputError, ScenarioError


@dataclass(frozen=True)
class TunedPlan:
    """What came of the rounds, and the plan with the corrected profile."""

    tuned: Tuned
    plan: Plan


def tune(
    scenario: AnyScenario,
    *,
    rounds: int = 2,
    tolerance: float = 0.05,
    budget_s: float | None = None,
    requests: int | None = None,
    front: int | None = None,
    out: str | Path | None = None,
    progress: Progress = SILENT,
) -> TunedPlan:
    """Plans, runs the best schedules on the real engines, corrects the latency profile, and again.

    The corrected profile and the plan are kept in ``out``. What was interrupted goes on where it
    was when the same is asked for.

    Args:
        rounds: of real runs, at most.
        tolerance: of the median relative error of TTFT, at the runs' pace.
        budget_s: seconds of real runs in all rounds, at most.
        requests: that each schedule plays in a round [default: as the scenario says].
        front: members of the front that are played [default: as the scenario says].
        out: folder of results [default: runs/NAME].

    Raises:
        InputError: the scenario is wrong, or a profile is missing.
        EngineError: an engine failed.
    """
    check_count("rounds", rounds)
    _check_bounds("tolerance", tolerance, LEAST_TOLERANCE, MOST_TOLERANCE)
    if budget_s is not None:
        _check_bounds("budget_s", budget_s, LEAST_BUDGET_S, LONGEST_RUN_S)
    if requests is not None:
        check_count("requests", requests)
    # No member of the front may be played.
    if front is not None and (front != 0 or isinstance(front, bool)):
        check_count("front", front)
    work = workspace_of(scenario, out)
    return tuned_of(work, effort_of(work, rounds, tolerance, budget_s, requests, front), progress)


def effort_of(
    work: Workspace,
    rounds: int,
    tolerance: float,
    budget_s: float | None = None,
    requests: int | None = None,
    front: int | None = None,
) -> TuningEffort:
    """With what the scenario says where nothing is given."""
    spec = work.scenario
    return TuningEffort(
        rounds,
        tolerance,
        requests or spec.requests.count,
        spec.plan.validated_front if front is None else front,
        budget_s,
    )


def tuned_of(work: Workspace, effort: TuningEffort, progress: Progress = SILENT) -> TunedPlan:
    """The same of a workspace."""
    for name in work.scenario.simulated:
        raise ScenarioError(f"engine {name!r} is simulated: there is nothing to measure and tune")
    forecaster = work.measured_forecaster()
    base = stored_hash(work.latency_path)
    key = _key(work, effort, base)
    with (
        sole_use(work.folder, "tune"),
        kept_work(work.tuning_path, [key], "runs", progress) as log,
        engines_of(work.scenario, progress, is_measured=True) as opened,
        progress.tracking(between_steps=True) as track,
    ):
        inner = progress.within(track)
        tuner = Tuner(
            work.scenario,
            work.source,
            opened,
            forecaster,
            base,
            lambda latency: plan_with(work, latency, inner),
            reference_of(opened, forecaster.pipeline, forecaster.latency),
            ItemLog(log, key, PlayedRun),
            effort,
            track,
        )
        tuned = tuner.run()
        save_latency(work.tuned_path, tuned.latency)
        return TunedPlan(tuned, plan_with(work, tuned.latency, inner))


def _key(work: Workspace, effort: TuningEffort, base: str) -> str:
    """Changes with everything that the runs of a round depend on."""
    asked = [work.search_name({"latency": base}), effort.requests, effort.front, effort.budget_s]
    return content_hash(asked)


def plan_with(work: Workspace, latency: LatencyProfile, progress: Progress = SILENT) -> Plan:
    """A plan by another latency profile than the stored one; written as ``plan`` does."""
    hashes = {**work.profile_hashes(), "latency": latency_hash(latency)}
    forecaster = work.profile_forecaster_with(latency)
    return plan_of(work, forecaster, hashes=hashes, progress=progress)


def _check_bounds(name: str, value: Any, least: float, most: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and least <= value <= most):
        raise InputError(f"{name}: {value!r} must be a number from {least:g} to {most:g}")
