"""Commands on the simulator, and what sets its forecasts beside measurements."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.given import refuse, schedule_given
from planner.cli.terminal import (
    AsJson,
    AtOnce,
    BarrierWord,
    Checked,
    LayoutName,
    OutFolder,
    Replicates,
    Requests,
    Revision,
    ScenarioPath,
    Show,
    Slos,
    StaircaseWord,
    Trace,
    WindowWord,
    Without,
    finite,
    notes,
    on_terminal,
    open_workspace,
    print_json,
    screen,
)
from staircase.bounds import LEAST_CAPACITY_SHARE, LEAST_READING_RATE, MOST_RATE

if TYPE_CHECKING:
    from simulator.forecast import Forecast

Reading = Annotated[str, typer.Option(help="exact, or latest: all that is there.")]
Starve = Annotated[
    str, typer.Option(help="When the next read is not there yet: wait, or write on.")
]


def simulate(
    ctx: typer.Context,
    scenario: ScenarioPath,
    staircase: StaircaseWord = "normal",
    layout: LayoutName = "append_rounds",
    barrier: BarrierWord = "all",
    window: WindowWord = "none",
    reading: Reading = "exact",
    starve: Starve = "wait",
    without: Without = None,
    at_once: AtOnce = None,
    checked: Checked = "0",
    show: Show = "settled",
    revision: Revision = "rewrite",
    requests: Requests = None,
    replicates: Replicates = 1,
    out: OutFolder = None,
    trace: Trace = None,
    slo: Slos = None,
    save: Annotated[
        Path | None, typer.Option(help="Write a record of the requests here, for 'compare'.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", help="Write the metrics of each request here, for data frames."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forecast one schedule."""
    from planner.api.simulating import forecast_of
    from planner.results.plans import Candidate
    from planner.tables.metrics_table import metrics_table, run_lines, use_lines
    from staircase.files import check_writable
    from staircase.metrics.run_metrics import measure_runs, parse_slo

    limits = parse_slo(slo or [])
    work = open_workspace(scenario, out).with_requests(requests)
    if not work.scenario.simulated:
        refuse(ctx, "replicates", why="it needs simulated engines, whose noise can be drawn again")
    pipeline = work.scenario.pipeline.build()
    schedule = schedule_given(ctx, pipeline)
    for path in filter(None, (save, trace, table)):
        check_writable(path)
    if work.scenario.simulated:
        _tell_of_compiling()
    needs_timelines = bool(trace or save)
    forecast = forecast_of(work, schedule, requests, replicates, needs_timelines, on_terminal())
    _write(forecast, trace, save, table, work.scenario.plan.reading_rate)
    candidate = Candidate.of(schedule, forecast)
    run = measure_runs(forecast.runs, limits)
    if as_json:
        engines = {name: asdict(use) for name, use in forecast.use.items()}
        hashes = {"profiles": work.profile_hashes()}
        print_json({**asdict(candidate), "run": asdict(run), "engines": engines, **hashes})
        return
    screen.print(metrics_table(candidate.forecast, f"Forecast of {staircase}, {layout}"))
    for words in [*run_lines(run, slo or []), *use_lines(forecast.use, forecast.metrics)]:
        screen.print(words, highlight=False)
    for words in candidate.extrapolated:
        screen.print(f"extrapolated: {words}")


def _write(
    forecast: Forecast, trace: Path | None, save: Path | None, table: Path | None, rate: float
) -> None:
    """Those files that were asked for; ``rate`` is at which the answer is read."""
    from staircase.metrics.request_table import write_request_table
    from staircase.records import write_records
    from staircase.trace import write_trace

    if trace:
        write_trace(trace, {"simulated": forecast.timelines})
    if save:
        write_records(save, forecast.timelines, rate)
    if table:
        write_request_table(table, forecast.runs)


def _tell_of_compiling() -> None:
    from simulator.core.compiling import is_compiled

    if notes.is_terminal and not is_compiled():
        notes.print("compiling the simulator, once on this machine: about a minute")


def capacity(
    ctx: typer.Context,
    scenario: ScenarioPath,
    slo: Slos = None,
    share: Annotated[
        float,
        typer.Option(
            min=LEAST_CAPACITY_SHARE,
            max=1,
            callback=finite,
            help="Share of requests that must keep all limits.",
        ),
    ] = 0.9,
    staircase: StaircaseWord = "normal",
    layout: LayoutName = "append_rounds",
    barrier: BarrierWord = "all",
    window: WindowWord = "none",
    without: Without = None,
    at_once: AtOnce = None,
    checked: Checked = "0",
    show: Show = "settled",
    requests: Requests = None,
    replicates: Replicates = 1,
    out: OutFolder = None,
    as_json: AsJson = False,
) -> None:
    """Find the highest request rate that keeps limits of latency."""
    from planner.api.simulating import capacity_in
    from planner.figures.number_format import number
    from planner.tables.metrics_table import capacity_table
    from staircase.errors import SloError
    from staircase.metrics.run_metrics import parse_slo

    if not slo:
        raise SloError("capacity needs a limit, as in --slo ttft:500")
    limits = parse_slo(slo)
    work = open_workspace(scenario, out).with_requests(requests)
    schedule = schedule_given(ctx, work.scenario.pipeline.build())
    _tell_of_compiling()
    found = capacity_in(work, limits, schedule, share, requests, replicates, on_terminal())
    if as_json:
        print_json({**asdict(found), "profiles": work.profile_hashes()})
        return
    screen.print(capacity_table(found, share))
    if found.rate_per_s is None:
        screen.print("no rate keeps these limits")
    else:
        least = "" if found.is_bound else "at least "
        screen.print(f"capacity: {least}{number(found.rate_per_s)} requests/s", highlight=False)


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
        typer.Option(
            min=LEAST_READING_RATE,
            max=MOST_RATE,
            callback=finite,
            help="Tokens a second of the answer's reader [default: 5.3].",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set a forecast beside a measurement of the same requests, metric by metric."""
    from planner.api import simulating
    from planner.tables.compare_table import comparison_table, describe_pairs
    from staircase.metrics.request_metrics import READING_RATE

    comparison = simulating.compare(forecast, measured, reading_rate or READING_RATE)
    if as_json:
        print_json(asdict(comparison))
        return
    screen.print(comparison_table(comparison))
    screen.print(describe_pairs(comparison), highlight=False)
