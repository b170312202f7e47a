"""The main job: profile, plan, validate, report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.commands.measuring import measure_profiles, show_profiles
from planner.terminal import (
    AsJson,
    OutFolder,
    Requests,
    ScenarioPath,
    notes,
    open_workspace,
    print_json,
    progress_bars,
    screen,
)

if TYPE_CHECKING:
    from planner.plan import Plan
    from planner.validate import Validation
    from planner.workspace import Workspace
    from staircase.timeline import Timeline


def plan(
    scenario: ScenarioPath,
    out: OutFolder = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Schedules to try.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the search.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that simulate, on this machine; Ray runs them.")
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Simulate on all of the Ray cluster at this address."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Keep the trials here: a journal file, or postgresql://USER@HOST/DATABASE.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search schedules on the simulator: with measured profiles, or on simulated engines."""
    where = storage if storage is None or "://" in storage else str(Path(storage).absolute())
    changes = {"trials": trials, "seed": seed, "storage": where}
    work = open_workspace(scenario, out, {k: v for k, v in changes.items() if v is not None})
    found = _plan(work, workers, ray)
    if as_json:
        print_json({"plan": str(work.plan_path), "named": _named(found)})
    else:
        _show_plan(work, found)


def validate(
    scenario: ScenarioPath,
    out: OutFolder = None,
    requests: Requests = None,
    as_json: AsJson = False,
) -> None:
    """Run the plan's schedules on the real models and set forecast beside measurement."""
    from planner.plan import load_plan

    work = open_workspace(scenario, out)
    found = load_plan(work.plan_path)
    checked = _validate(work, found, requests or work.scenario.requests.count)
    if as_json:
        print_json(asdict(checked))
    else:
        _show_validation(work, checked)


def demo(out: OutFolder = None, requests: Requests = None, as_json: AsJson = False) -> None:
    """The main job on embedded models: profile, plan, validate, report. Needs no download."""
    work = open_workspace(Path(__file__).parents[1] / "demo.yaml", out)
    measure_profiles(work)
    found = _plan(work)
    checked = _validate(work, found, requests or work.scenario.requests.count)
    if as_json:
        print_json(asdict(checked))
        return
    show_profiles(work)
    _show_plan(work, found)
    _show_validation(work, checked)


def _plan(work: Workspace, workers: int = 1, ray: str | None = None) -> Plan:
    from planner.crew import crew_of
    from planner.journal import remove_journal
    from planner.objectives import Goals
    from planner.plan import save_plan
    from planner.search import search
    from planner.storage import open_storage
    from planner.stored_trials import StoredTrials

    judge, hashes, spec = work.judge(), work.profile_hashes(), work.scenario.plan
    goals, storage = Goals.of(spec, judge.knows_quality), open_storage(work.storage)
    with (
        StoredTrials(storage, work.search_name(), goals) as log,
        crew_of(judge, workers, ray) as crew,
        progress_bars() as track,
    ):
        if len(log):
            notes.print(f"going on with {len(log)} forecasts of {storage.where}")
        step = track("search", spec.trials)
        found = search(work.scenario, judge, hashes, step, log, crew)
    save_plan(work.plan_path, found)
    if spec.storage is None:
        remove_journal(work.trials_path)
    return found


def _validate(work: Workspace, found: Plan, requests: int) -> Validation:
    from executor.bench import open_bench
    from planner.validate import contenders, save_validation
    from planner.validate import validate as check

    front = work.scenario.plan.validated_front
    with open_bench(work.scenario) as bench, progress_bars() as track:
        total = requests * len(contenders(found, front))
        step = track("real runs", total)
        checked, real = check(work.scenario, work.source, found, bench, requests, front, step)
    save_validation(work.validation_path, checked)
    _write_pictures(work, found, checked, real)
    return checked


def _write_pictures(
    work: Workspace, found: Plan, checked: Validation, real: dict[str, list[Timeline]]
) -> None:
    from planner.report import Runs, write_report
    from staircase.trace import write_trace

    forecaster = work.forecaster(requests=3)
    named = {name: candidate.schedule for name, candidate in found.named().items()}
    simulated = {name: forecaster(schedule).timelines for name, schedule in named.items()}
    runs = {f"simulated {name}": lines for name, lines in simulated.items()}
    runs |= {f"real {name}": real[name][:3] for name in named}
    write_trace(work.trace_path, runs)
    answer = forecaster.pipeline.answer
    write_report(work.report_path, found, checked, Runs(simulated, real), answer)


def _named(found: Plan) -> dict[str, Any]:
    return {name: asdict(candidate) for name, candidate in found.named().items()}


def _show_plan(work: Workspace, found: Plan) -> None:
    from planner.drawing import describe_schedule
    from planner.tables import as_rich, forecast_cells

    screen.print(as_rich(forecast_cells(found.named()), "Plan"))
    chosen = found.named()["chosen"]
    screen.print(
        f"{len(found.candidates)} schedules simulated, {len(found.front)} on the front of "
        f"{', '.join(found.objectives)}; chosen for {found.objectives[0]} within "
        f"{', '.join(found.limits)}: {describe_schedule(chosen)}",
        highlight=False,
    )
    for words in chosen.extrapolated:
        screen.print(f"extrapolated: {words}")
    screen.print(f"written: {work.plan_path}")


def _show_validation(work: Workspace, checked: Validation) -> None:
    from planner.tables import as_rich, validation_cells

    title = f"Forecast and measurement over {checked.requests} real requests"
    screen.print(as_rich(validation_cells(checked), title))
    screen.print(
        f"measured TTFT: {checked.ttft_reduction:.1%} less than normal; "
        f"median forecast error of TTFT: {checked.error('ttft_s'):.1%} "
        f"over {len(checked.rows)} schedules"
    )
    for path in (work.validation_path, work.trace_path, work.report_path):
        screen.print(f"written: {path}")
