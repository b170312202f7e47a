"""The main job: profile, plan, validate, report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.cli.commands.measuring import show_profiles
from planner.cli.given import refuse
from planner.cli.terminal import (
    AsJson,
    OutFolder,
    Requests,
    ScenarioPath,
    Seed,
    Trials,
    Workers,
    notes,
    on_terminal,
    open_workspace,
    print_json,
    screen,
)

if TYPE_CHECKING:
    from planner.results.plans import Plan
    from planner.results.validation import Validation
    from planner.workspace import Workspace


def plan(
    ctx: typer.Context,
    scenario: ScenarioPath,
    out: OutFolder = None,
    trials: Trials = None,
    seed: Seed = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="As smooth_start, ttft.p90 or loss; once for each [default: the scenario's]."
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIGURE=VALUE",
            help="The most that a figure may be (of quality, score, goodput and capacity the "
            "least), in seconds, of times p90 unless said otherwise: stall=1, ttft.mean=0.5; once "
            "for each, beside the scenario's.",
        ),
    ] = None,
    workers: Workers = 1,
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
    from planner.figures.objectives import limits_of_words

    if ray is not None:
        refuse(ctx, "workers", why="--ray simulates on all of a cluster")
    where = storage if storage is None or "://" in storage else str(Path(storage).absolute())
    changes = {"trials": trials, "seed": seed, "objectives": objective, "storage": where}
    work = open_workspace(scenario, out, {k: v for k, v in changes.items() if v is not None})
    work = work.with_limits(limits_of_words(limit or []))
    found = _plan(work, workers, ray)
    if as_json:
        print_json({"plan": str(work.plan_path), "named": _named(found)})
    else:
        _show_plan(work, found)


def validate(
    scenario: ScenarioPath,
    out: OutFolder = None,
    requests: Requests = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Write all runs here: texts, calls and the times of all tokens.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the plan's schedules on the real models and set forecast beside measurement."""
    from planner.api.validating import validation_of
    from planner.results.plans import load_plan

    work = open_workspace(scenario, out)
    checked = validation_of(work, load_plan(work.plan_path), requests, save, on_terminal())
    if as_json:
        print_json(asdict(checked))
    else:
        _show_validation(work, checked)


def demo(out: OutFolder = None, requests: Requests = None, as_json: AsJson = False) -> None:
    """The main job on embedded models: profile, plan, validate, report. Needs no download."""
    from planner.api.profiling import profiles_of
    from planner.api.validating import validation_of
    from planner.sole_use import sole_use

    work = open_workspace(Path(__file__).parents[2] / "demo.yaml", out)
    with sole_use(work.folder, "demo"):
        measured = profiles_of(work, progress=on_terminal())
        found = _plan(work)
        checked = validation_of(work, found, requests, progress=on_terminal())
    if as_json:
        print_json(asdict(checked))
        return
    show_profiles(work, measured.items())
    _show_plan(work, found)
    _show_validation(work, checked)


def _plan(work: Workspace, workers: int = 1, ray: str | None = None) -> Plan:
    from planner.api.planning import plan_of

    forecaster = work.forecaster()  # Before there is a bar: what is missing gets one line.
    _tell_what_is_not_known(work)
    return plan_of(work, forecaster, workers=workers, ray=ray, progress=on_terminal())


def _tell_what_is_not_known(work: Workspace) -> None:
    """Of measured engines."""
    from planner.profiling.lookups import lookup_specs
    from planner.profiling.profile_warnings import latency_notes, pass_notes, text_notes

    if work.scenario.simulated:
        return
    if work.why_no_quality:
        notes.print(
            f"quality is not known: {work.why_no_quality}; judging by what is unread when it is "
            "written"
        )
    engines, texts = work.latency().engines, work.guessed_texts()
    guesses = pass_notes(work.scenario.real, engines)
    guesses += text_notes(lookup_specs(work.scenario), texts)
    for words in [*latency_notes(engines), *guesses]:
        notes.print(words)


def _named(found: Plan) -> dict[str, Any]:
    return {name: asdict(candidate) for name, candidate in found.named().items()}


def _show_plan(work: Workspace, found: Plan) -> None:
    from planner.figures.describing import describe_schedule
    from planner.tables.validation_table import as_rich, forecast_cells

    screen.print(as_rich(forecast_cells(found.named()), "Plan"))
    chosen = found.named()["chosen"]
    screen.print(
        f"{len(found.candidates)} schedules simulated, {len(found.front)} on the front of "
        f"{', '.join(found.objectives)}; chosen for {found.objectives[0]} within "
        f"{', '.join(found.limits)}: {describe_schedule(chosen.schedule)}",
        highlight=False,
    )
    if found.explanation:
        screen.print(f"Forecast. {found.explanation.reading.sentence}", highlight=False)
    for one in found.held_out:
        if one.missed:
            schedule = describe_schedule(found.candidates[one.number].schedule)
            screen.print(f"not chosen, on held-out requests {'; '.join(one.missed)}: {schedule}")
    for words in chosen.extrapolated:
        screen.print(f"extrapolated: {words}")
    _show_written(work.plan_path, work.report_path, work.trace_path)


def _show_validation(work: Workspace, checked: Validation) -> None:
    from planner.figures.metric_table import METRICS
    from planner.figures.shown_columns import JUDGED
    from planner.tables.validation_table import as_rich, text_cells, validation_cells

    title = f"Forecast and measurement over {checked.requests} real requests"
    screen.print(as_rich(validation_cells(checked), title))
    screen.print(as_rich(text_cells(checked), "The answers as texts"))
    for words in checked.likelihood_lines:
        screen.print(words, highlight=False, markup=False)
    for words in checked.reading_lines:
        screen.print(words, highlight=False)
    screen.print(
        f"median forecast error over {len(checked.rows)} schedules: "
        + ", ".join(
            f"{METRICS[name].column or METRICS[name].label} {checked.errors[name]:.1%}"
            for name in JUDGED
        ),
        highlight=False,
    )
    for words in checked.shortfall_lines:
        screen.print(words, highlight=False, markup=False)
    _show_written(work.validation_path, work.trace_path, work.report_path)


def _show_written(*paths: Path) -> None:
    for path in filter(Path.is_file, paths):
        screen.print(f"written: {path}")
