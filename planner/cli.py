"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from staircase.errors import EngineError, InputError

if TYPE_CHECKING:
    from planner.plan import Plan
    from planner.validate import Validation
    from planner.workspace import Workspace
    from simulator.forecast import Forecast
    from staircase.schedule import Schedule
    from staircase.timeline import Timeline

app = typer.Typer(
    name="staircase",
    help="How early may the last model of a pipeline start to write, and what does that cost?\n\n"
    "A scenario file describes the pipeline. 'profile' measures it on this machine, 'plan' "
    "searches schedules on a simulator, 'validate' runs the best ones for real; 'demo' does all "
    "of it on small embedded models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# Tables need some width even where the output is no terminal.
screen = Console(width=None if sys.stdout.isatty() else 120)
notes = Console(stderr=True)

ScenarioPath = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]
OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder for results [default: runs/NAME].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Requests = Annotated[
    int | None,
    typer.Option("--requests", min=1, help="How many requests [default: as the scenario says]."),
]
Replicates = Annotated[
    int, typer.Option(min=1, help="Simulate so often, with other lengths, arrivals and noise.")
]
StaircaseWord = Annotated[
    str,
    typer.Option(
        help="normal, constant:FIRST,CHUNK,WRITE, geometric:FIRST,RATIO,CAP,WRITE "
        "or steps:READ/WRITE,READ/WRITE."
    ),
]
LayoutName = Annotated[
    str, typer.Option(help="rebuild, rebuild_query_first, append_rounds or interleave.")
]
BarrierWord = Annotated[
    str, typer.Option(help="Whom a step waits for: all, quorum:COUNT or grace:COUNT,SECONDS.")
]
Slos = Annotated[
    list[str] | None,
    typer.Option(help="Limit for goodput: ttft:MS, tpot:MS or e2e:MS; once for each."),
]
Trace = Annotated[Path | None, typer.Option(help="Write timelines here, for ui.perfetto.dev.")]


def main() -> None:
    """Runs the command line; wrong input ends with one line and exit code 2."""
    try:
        app()
    except InputError as error:
        notes.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)
    except EngineError as error:
        notes.print(f"[bold red]engine:[/] {_escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        notes.print("interrupted")
        sys.exit(130)


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


@app.command()
def profile(scenario: ScenarioPath, out: OutFolder = None, as_json: AsJson = False) -> None:
    """Measure what the scenario's engines cost and what reading less costs in quality."""
    work = _open(scenario, out)
    paths = _profile(work)
    if as_json:
        _print_json(paths)
    else:
        _show_profiles(work)


@app.command()
def plan(
    scenario: ScenarioPath,
    out: OutFolder = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Schedules to try.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the search.")] = None,
    as_json: AsJson = False,
) -> None:
    """Search schedules on the simulator, with the profiles that 'profile' measured."""
    changes = {"trials": trials, "seed": seed}
    work = _open(scenario, out, {k: v for k, v in changes.items() if v is not None})
    found = _plan(work)
    if as_json:
        _print_json({"plan": str(work.plan_path), "named": _named(found)})
    else:
        _show_plan(work, found)


@app.command()
def simulate(
    scenario: ScenarioPath,
    staircase: StaircaseWord = "normal",
    layout: LayoutName = "append_rounds",
    barrier: BarrierWord = "all",
    reading: Annotated[str, typer.Option(help="exact, or latest: all that is there.")] = "exact",
    starve: Annotated[
        str, typer.Option(help="When the next read is not there yet: wait, or write on.")
    ] = "wait",
    requests: Requests = None,
    replicates: Replicates = 1,
    out: OutFolder = None,
    trace: Trace = None,
    slo: Slos = None,
    save: Annotated[
        Path | None, typer.Option(help="Write a record of the requests here, for 'compare'.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forecast one schedule."""
    from planner.plan import Candidate
    from planner.tables import metrics_table, run_lines, use_lines
    from staircase.records import write_records
    from staircase.run_metrics import measure_runs, parse_slo
    from staircase.trace import write_trace

    limits = parse_slo(slo or [])
    work = _open(scenario, out).with_requests(requests)
    schedule = _schedule(work, staircase, layout, barrier, reading, starve)
    forecast = _forecast(work, schedule, requests, replicates, bool(trace or save))
    if trace:
        write_trace(trace, {"simulated": forecast.timelines})
    if save:
        write_records(save, forecast.timelines, work.scenario.plan.reading_rate)
    candidate = Candidate.of(schedule, forecast)
    run = measure_runs(forecast.runs, limits)
    if as_json:
        engines = {name: asdict(use) for name, use in forecast.use.items()}
        _print_json({**asdict(candidate), "run": asdict(run), "engines": engines})
        return
    screen.print(metrics_table(candidate.forecast, f"Forecast of {staircase}, {layout}"))
    for words in [*run_lines(run, slo or []), *use_lines(forecast.use, forecast.metrics)]:
        screen.print(words, highlight=False)
    for words in candidate.extrapolated:
        screen.print(f"extrapolated: {words}")


def _schedule(
    work: Workspace, staircase: str, layout: str, barrier: str, reading: str, starve: str
) -> Schedule:
    """The same staircase for every reading agent."""
    from staircase.schedule import Schedule, parse_barrier, parse_staircase

    steps = parse_staircase(staircase)
    readers = work.scenario.pipeline.build().readers
    staircases = {agent.name: steps for agent in readers}
    return Schedule(staircases, layout, parse_barrier(barrier), reading, starve)  # type: ignore[arg-type]


def _forecast(
    work: Workspace,
    schedule: Schedule,
    requests: int | None,
    replicates: int,
    needs_timelines: bool,
) -> Forecast:
    if not work.scenario.simulated:
        return work.forecaster(requests)(schedule)
    from simulator.forecast import forecast_simulated

    with _progress(transient=True) as track:
        return forecast_simulated(
            work.scenario,
            schedule,
            work.source,
            replicates=replicates,
            needs_timelines=needs_timelines,
            on_replicate=track("simulate", replicates),
        )


@app.command()
def capacity(
    scenario: ScenarioPath,
    slo: Slos = None,
    share: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of requests that must keep all limits.")
    ] = 0.9,
    staircase: StaircaseWord = "normal",
    layout: LayoutName = "append_rounds",
    barrier: BarrierWord = "all",
    requests: Requests = None,
    replicates: Replicates = 1,
    as_json: AsJson = False,
) -> None:
    """Find the highest request rate of simulated engines that keeps limits of latency."""
    from planner.capacity import find_capacity
    from planner.tables import capacity_table, number
    from staircase.errors import SloError
    from staircase.run_metrics import parse_slo

    if not slo:
        raise SloError("capacity needs a limit, as in --slo ttft:500")
    limits = parse_slo(slo)
    work = _open(scenario, None).with_requests(requests)
    schedule = _schedule(work, staircase, layout, barrier, "exact", "wait")
    with _progress(transient=True) as track:
        found = find_capacity(
            work.scenario,
            schedule,
            limits,
            share,
            work.source,
            replicates=replicates,
            on_trial=track("rates", None),
        )
    if as_json:
        _print_json(asdict(found))
        return
    screen.print(capacity_table(found, share))
    if found.rate_per_s is None:
        screen.print("no rate keeps these limits")
    else:
        least = "" if found.is_bound else "at least "
        screen.print(f"capacity: {least}{number(found.rate_per_s)} requests/s", highlight=False)


@app.command()
def compare(
    forecast: Annotated[
        Path, typer.Argument(help="Record that 'simulate --save' wrote.", show_default=False)
    ],
    measured: Annotated[
        Path,
        typer.Argument(
            help="Record of the same requests: the same format, that of 'vllm bench serve "
            "--save-result --save-detailed' or LLMServingSim's requests.jsonl.",
            show_default=False,
        ),
    ],
    reading_rate: Annotated[
        float | None,
        typer.Option(min=0.1, help="Tokens a second of the reader who stalls [default: 10]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set a forecast beside a measurement of the same requests, metric by metric."""
    from planner.compare import compare as set_side_by_side
    from planner.compare_table import comparison_table, describe_pairs
    from staircase.metrics import READING_RATE
    from staircase.records import read_records

    records = read_records(forecast), read_records(measured)
    comparison = set_side_by_side(*records, reading_rate or READING_RATE)
    if as_json:
        _print_json(asdict(comparison))
        return
    screen.print(comparison_table(comparison))
    screen.print(describe_pairs(comparison), highlight=False)


@app.command()
def validate(
    scenario: ScenarioPath,
    out: OutFolder = None,
    requests: Requests = None,
    as_json: AsJson = False,
) -> None:
    """Run the plan's schedules on the real models and set forecast beside measurement."""
    from planner.plan import load_plan

    work = _open(scenario, out)
    found = load_plan(work.plan_path)
    checked = _validate(work, found, requests or work.scenario.requests.count)
    if as_json:
        _print_json(asdict(checked))
    else:
        _show_validation(work, checked)


@app.command()
def run(
    scenario: ScenarioPath,
    question: Annotated[
        str | None, typer.Argument(help="What to ask [default: the scenario's own questions].")
    ] = None,
    staircase: Annotated[
        str | None, typer.Option(help="As for 'simulate' [default: what the plan chose].")
    ] = None,
    layout: LayoutName = "append_rounds",
    barrier: BarrierWord = "all",
    requests: Requests = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 1,
    rate: Annotated[
        float | None, typer.Option(min=1e-3, help="Requests a second, at random times.")
    ] = None,
    out: OutFolder = None,
    trace: Trace = None,
    save: Annotated[
        Path | None, typer.Option(help="Write a record of the requests here, for 'compare'.")
    ] = None,
) -> None:
    """Play a schedule on the real engines: watch one answer grow, or measure many."""
    from executor.bench import open_bench
    from executor.runtime import Job
    from planner.playing import Pace, planned_schedule, play_many, play_one, questions_of
    from staircase.records import write_records
    from staircase.trace import write_trace

    work = _open(scenario, out)
    chosen = (
        _schedule(work, staircase, layout, barrier, "exact", "wait")
        if staircase
        else planned_schedule(work)
    )
    pipeline = work.scenario.pipeline.build()
    asked = questions_of(work, question, requests or 1)
    jobs = [Job(pipeline, chosen, one) for one in asked]
    with open_bench(work.scenario) as bench:
        if len(jobs) == 1:
            outcomes = [play_one(bench, jobs[0], screen)]
        else:
            with _progress() as track:
                step = track("real runs", len(jobs))
                outcomes = play_many(bench, jobs, Pace(concurrency, rate), step)
    lines = [outcome.timeline for outcome in outcomes]
    if trace:
        write_trace(trace, {"real": lines})
    if save:
        write_records(save, lines, work.scenario.plan.reading_rate)
    _show_runs(work, lines)


def _show_runs(work: Workspace, lines: list[Timeline]) -> None:
    """Metrics on stderr, as stdout is the answer's; a request that failed is told."""
    from planner.tables import metrics_table, run_lines
    from staircase.measured import measure_all
    from staircase.run_metrics import Slo, measure_run

    measured = measure_all(lines, work.scenario.plan.reading_rate)
    if measured.answered:
        notes.print(metrics_table(measured.summaries(), "Measured"))
    for words in run_lines(measure_run(measured, Slo()), []):
        notes.print(words, highlight=False)
    for line in lines:
        if line.error:
            raise EngineError(f"request {line.request}: {line.error}")


@app.command()
def engines(scenario: ScenarioPath, as_json: AsJson = False) -> None:
    """Ask the scenario's servers what they can do; says what its other engines are."""
    from planner.engine_table import describe_engines, engine_table
    from staircase.scenario import load_scenario

    found = describe_engines(load_scenario(scenario))
    if as_json:
        _print_json([asdict(one) for one in found])
    else:
        screen.print(engine_table(found))
    for one in found:
        if one.error:
            raise EngineError(one.error)


@app.command()
def demo(out: OutFolder = None, requests: Requests = None, as_json: AsJson = False) -> None:
    """The main job on embedded models: profile, plan, validate, report. Needs no download."""
    work = _open(Path(__file__).parent / "demo.yaml", out)
    _profile(work)
    found = _plan(work)
    checked = _validate(work, found, requests or work.scenario.requests.count)
    if as_json:
        _print_json(asdict(checked))
        return
    _show_profiles(work)
    _show_plan(work, found)
    _show_validation(work, checked)


def _open(
    scenario: Path, out: Path | None, plan_changes: dict[str, Any] | None = None
) -> Workspace:
    from planner.workspace import Workspace

    work = Workspace.open(scenario, out)
    return work.with_plan(plan_changes) if plan_changes else work


def _profile(work: Workspace) -> dict[str, str]:
    from executor.bench import open_bench
    from planner.profiling import check_profilable, make_latency, make_quality
    from profiles.latency import save_latency
    from profiles.quality import save_quality

    check_profilable(work.scenario)
    with open_bench(work.scenario) as bench, _progress() as track:
        latency = make_latency(work.scenario, bench, track)
        quality = make_quality(work.scenario, work.source, bench, track)
    save_latency(work.latency_path, latency)
    save_quality(work.quality_path, quality)
    return {"latency": str(work.latency_path), "quality": str(work.quality_path)}


def _plan(work: Workspace) -> Plan:
    from planner.plan import save_plan
    from planner.search import search

    forecaster, hashes = work.forecaster(), work.profile_hashes()
    with _progress() as track:
        step = track("search", work.scenario.plan.trials)
        found = search(work.scenario, forecaster, hashes, step)
    save_plan(work.plan_path, found)
    return found


def _validate(work: Workspace, found: Plan, requests: int) -> Validation:
    from executor.bench import open_bench
    from planner.validate import contenders, save_validation
    from planner.validate import validate as check

    front = work.scenario.plan.validated_front
    with open_bench(work.scenario) as bench, _progress() as track:
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


@contextmanager
def _progress(
    transient: bool = False,
) -> Iterator[Callable[[str, int | None], Callable[[], None]]]:
    """Progress bars on stderr, which vanish at the end if they are ``transient``."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # What vanishes leaves an empty line behind where it could not be shown.
    hidden = transient and not notes.is_terminal
    with Progress(*columns, console=notes, transient=transient, disable=hidden) as progress:

        def track(what: str, total: int | None) -> Callable[[], None]:
            task = progress.add_task(what, total=total)
            return lambda: progress.advance(task)

        yield track


def _named(found: Plan) -> dict[str, Any]:
    return {name: asdict(candidate) for name, candidate in found.named().items()}


def _print_json(content: Any) -> None:
    from staircase.files import without_nan

    print(json.dumps(without_nan(content), indent=1))


def _show_profiles(work: Workspace) -> None:
    latency = work.latency()
    for engine in {one.prefill: one for one in latency.engines.values()}.values():
        names = [name for name, one in latency.engines.items() if one == engine]
        screen.print(
            f"{', '.join(names)}: prefill within {engine.prefill.error:.1%}, decode within "
            f"{engine.decode.error:.1%} (median error of points left out of the fit)"
        )
    quality = work.quality()
    screen.print(
        f"quality: {len(quality.samples)} requests, read levels {list(quality.read_levels)}"
    )
    screen.print(f"written: {work.latency_path}, {work.quality_path}")


def _show_plan(work: Workspace, found: Plan) -> None:
    from planner.drawing import describe_schedule
    from planner.tables import as_rich, forecast_cells

    screen.print(as_rich(forecast_cells(found.named()), "Plan"))
    chosen = found.named()["chosen"]
    screen.print(
        f"{len(found.candidates)} schedules simulated, {len(found.front)} on the front; "
        f"chosen: {describe_schedule(chosen)}"
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


if __name__ == "__main__":
    main()
