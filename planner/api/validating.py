"""Validating: what ``staircase validate`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from planner.api.engines import engines_of
from planner.api.explaining import report_or_why_not
from planner.api.opening import AnyScenario, check_count, workspace_of
from planner.evaluation import validate as running
from planner.kept_work import kept_work
from planner.progress import SILENT, Progress
from planner.results.plans import Plan, load_plan
from planner.results.recorded_runs import recorded, save_runs
from planner.results.validation import Validation, save_validation
from planner.results.validation_log import ValidationLog
from planner.sole_use import sole_use
from planner.workspace import Workspace
from simulator.analytic.lower_bound import Stage
from staircase.files import check_writable
from staircase.timeline import Timeline
from staircase.trace import write_trace

# Requests of a schedule in a trace.
TRACED = 3


def validate(
    scenario: AnyScenario,
    plan: Plan | None = None,
    *,
    requests: int | None = None,
    out: str | Path | None = None,
    save: str | Path | None = None,
    progress: Progress = SILENT,
) -> Validation:
    """Runs a plan's schedules on the real engines and sets forecast beside measurement.

    Writes ``validation.json``, ``report.html`` and ``trace.json``. What was interrupted goes on
    where it was.

    Args:
        plan: of the scenario [default: the one in ``out``].
        requests: how many of each schedule [default: as the scenario says].
        out: folder of results [default: runs/NAME].
        save: a file for all runs: texts, calls and the times of all tokens.

    Raises:
        InputError: the scenario or the plan is wrong, or a file cannot be written.
        EngineError: an engine failed.
    """
    work = workspace_of(scenario, out)
    if requests is not None:
        check_count("requests", requests)
    found = plan or load_plan(work.plan_path)
    path = None if save is None else Path(save)
    return validation_of(work, found, requests, path, progress)


def validation_of(
    work: Workspace,
    found: Plan,
    requests: int | None = None,
    save: Path | None = None,
    progress: Progress = SILENT,
) -> Validation:
    """The same of a workspace."""
    if save:
        check_writable(save)
    count = requests or work.scenario.requests.count
    front, stage = work.scenario.plan.validated_front, work.profile_forecaster().stage
    key = running.runs_key(work.scenario, work.source, found, count, front)
    keys = ValidationLog.keys(key, work.scenario)
    with (
        sole_use(work.folder, "validate"),
        kept_work(work.runs_path, keys, "runs and scores", progress) as kept,
        engines_of(work.scenario, progress, is_measured=True) as opened,
        progress.tracking() as track,
    ):
        checked, real = running.validate(
            work.scenario,
            work.source,
            found,
            opened,
            count,
            front,
            track,
            stage.call_ps,
            ValidationLog.of(kept, key, work.scenario),
        )
        save_validation(work.validation_path, checked)
        if save:
            save_runs(save, recorded(work.scenario, running.contenders(found, front), real))
        report_or_why_not(work.report_path, found, checked, progress)
        lines = {name: [run.outcome.timeline for run in some] for name, some in real.items()}
        _write_trace(work, found, stage, lines)
    return checked


def _write_trace(
    work: Workspace, found: Plan, stage: Stage, real: Mapping[str, Sequence[Timeline]]
) -> None:
    """Of each schedule with a name, some requests, simulated and real."""
    runs: dict[str, list[Timeline]] = {}
    for name, candidate in found.named().items():
        runs[f"simulated {name}"] = list(stage.play(candidate.schedule)[:TRACED])
    for name in found.named():
        runs[f"real {name}"] = list(real[name][:TRACED])
    write_trace(work.trace_path, runs)
