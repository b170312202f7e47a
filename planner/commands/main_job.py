"""The main job: profile, plan, validate, report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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


def profile(
    scenario: ScenarioPath,
    out: OutFolder = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds for latency [default: as the scenario says]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what the scenario's engines cost and what reading less costs in quality.

    An interrupted measurement of latency goes on where it was when the same is asked for again.
    """
    work = open_workspace(scenario, out).with_budget(budget)
    paths = _profile(work)
    if as_json:
        print_json(paths)
    else:
        _show_profiles(work)


def plan(
    scenario: ScenarioPath,
    out: OutFolder = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Schedules to try.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the search.")] = None,
    as_json: AsJson = False,
) -> None:
    """Search schedules on the simulator: with measured profiles, or on simulated engines."""
    changes = {"trials": trials, "seed": seed}
    work = open_workspace(scenario, out, {k: v for k, v in changes.items() if v is not None})
    found = _plan(work)
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
    _profile(work)
    found = _plan(work)
    checked = _validate(work, found, requests or work.scenario.requests.count)
    if as_json:
        print_json(asdict(checked))
        return
    _show_profiles(work)
    _show_plan(work, found)
    _show_validation(work, checked)


def _profile(work: Workspace) -> dict[str, str]:
    """Paths of what was measured."""
    from executor.bench import open_bench
    from executor.sample_log import SampleLog
    from planner.profiling import keys_of, make_latency, make_quality
    from profiles.latency import save_latency
    from profiles.quality import save_quality

    with open_bench(work.scenario) as bench:
        log = SampleLog(work.samples_path, keys_of(work.scenario).values())
        for words in log.notes:
            notes.print(words, soft_wrap=True, highlight=False)
        with _kept(work.samples_path), progress_bars(between_steps=True) as track:
            latency = make_latency(work.scenario, bench, log, track)
            save_latency(work.latency_path, latency)
        paths = {"latency": str(work.latency_path)}
        if bench.can_score(work.scenario.pipeline.build()):
            with _kept(work.samples_path), progress_bars() as track:
                save_quality(
                    work.quality_path, make_quality(work.scenario, work.source, bench, track)
                )
            paths["quality"] = str(work.quality_path)
    log.remove()
    return paths


@contextmanager
def _kept(samples: Path) -> Iterator[None]:
    """Says what an interrupt leaves."""
    try:
        yield
    except KeyboardInterrupt:
        if samples.exists():
            notes.print(
                f"kept: {samples}; the same command goes on from there",
                soft_wrap=True,
                highlight=False,
            )
        raise


def _plan(work: Workspace) -> Plan:
    from planner.plan import save_plan
    from planner.search import search
    from planner.trial_log import TrialLog

    judge, hashes = work.judge(), work.profile_hashes()
    with TrialLog(work.trials_path, work.search_key()) as log, progress_bars() as track:
        if len(log):
            notes.print(f"going on with {len(log)} forecasts of {work.trials_path}")
        step = track("search", work.scenario.plan.trials)
        found = search(work.scenario, judge, hashes, step, log)
    save_plan(work.plan_path, found)
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


def _show_profiles(work: Workspace) -> None:
    from planner.tables import latency_lines

    for words in latency_lines(work.latency()):
        screen.print(words, highlight=False)
    if work.quality_path.is_file():
        quality = work.quality()
        screen.print(
            f"quality: {len(quality.samples)} requests, read levels {list(quality.read_levels)}"
        )
    else:
        screen.print(
            "quality: not measured, as servers do not give probabilities of tokens; name a file "
            "that was made with in-process engines under profile: quality"
        )
    for path in (work.latency_path, work.quality_path):
        if path.is_file():
            screen.print(f"written: {path}")


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
