"""Commands on real engines: play a schedule on them, ask what they can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.given import refuse
from planner.cli.terminal import (
    AsJson,
    BarrierWord,
    LayoutName,
    OutFolder,
    Requests,
    ScenarioPath,
    Trace,
    Without,
    finite,
    kept_work,
    notes,
    open_workspace,
    print_json,
    progress_bars,
    schedule_of,
    screen,
)
from staircase.bounds import LEAST_RATE, MOST, MOST_RATE
from staircase.errors import EngineError

if TYPE_CHECKING:
    from executor.line_log import ItemLog
    from executor.runtime import Job, Outcome
    from planner.cli.playing import Faults, Pace
    from planner.workspace import Workspace
    from staircase.records import Exchange
    from staircase.schedule import Schedule
    from staircase.timeline import Timeline
    from staircase.workload import Question


def run(
    ctx: typer.Context,
    scenario: ScenarioPath,
    question: Annotated[
        str | None, typer.Argument(help="What to ask [default: the scenario's own questions].")
    ] = None,
    staircase: Annotated[
        str | None, typer.Option(help="As for 'simulate' [default: what the plan chose].")
    ] = None,
    layout: LayoutName = "append_rounds",
    barrier: BarrierWord = "all",
    without: Without = None,
    requests: Requests = None,
    concurrency: Annotated[int, typer.Option(min=1, max=MOST, help="Requests at a time.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            min=LEAST_RATE,
            max=MOST_RATE,
            callback=finite,
            help="Requests a second, at random times.",
        ),
    ] = None,
    out: OutFolder = None,
    trace: Trace = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write a record of the requests here, for 'compare' and 'judge'."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play a schedule on the real engines: watch one answer grow, or measure many.

    An interrupted run with --save goes on where it was when the same is asked for again.
    """
    from planner.cli.playing import Pace, planned_schedule, questions_of

    _check_given(ctx, question, staircase, requests or 1)
    work = open_workspace(scenario, out)
    chosen = (
        schedule_of(work, staircase, layout, barrier, without=without)
        if staircase
        else planned_schedule(work)
    )
    asked = questions_of(work, question, requests or 1)
    _run(work, chosen, asked, Pace(concurrency, rate), save, trace, as_json)


def _run(
    work: Workspace,
    schedule: Schedule,
    questions: Sequence[Question],
    pace: Pace,
    save: Path | None,
    trace: Path | None,
    as_json: bool,
) -> None:
    from executor.runtime import Job
    from executor.scoring.scores import answer_scorer
    from planner.cli.playing import exchange_of, run_key
    from staircase.files import check_writable
    from staircase.records import write_records
    from staircase.trace import write_trace

    pipeline = work.scenario.pipeline.build()
    jobs = [Job(pipeline, schedule, one) for one in questions]
    scorer = answer_scorer(work.scenario.requests, work.source)
    for path in filter(None, (save, trace)):
        check_writable(path)
    with _kept(save, run_key(work.scenario, jobs, pace)) as kept:
        outcomes, faults = _play(work, jobs, pace, kept, is_shown=len(jobs) == 1 and not as_json)
        lines = [outcome.timeline for outcome in outcomes]
        said = [exchange_of(*pair, scorer) for pair in zip(jobs, outcomes, strict=True)]
        if trace:
            write_trace(trace, {"real": lines})
        if save:
            write_records(save, lines, work.scenario.plan.reading_rate, said)
        _show_runs(work, lines, said, faults, as_json)


@contextmanager
def _kept(save: Path | None, key: str) -> Iterator[ItemLog[Outcome] | None]:
    """Finished runs, kept beside the record to come; None where none is written."""
    from executor.line_log import ItemLog
    from executor.runtime import Outcome
    from planner.sole_use import sole_use
    from staircase.files import is_no_file

    if save is None or is_no_file(save):
        yield None
        return
    with (
        sole_use(save, "run", is_file=True),
        kept_work(save.with_suffix(".partial.jsonl"), [key], "runs") as log,
    ):
        yield ItemLog(log, key, Outcome)


def _play(
    work: Workspace,
    jobs: list[Job],
    pace: Pace,
    kept: ItemLog[Outcome] | None,
    is_shown: bool,
) -> tuple[list[Outcome], list[Faults]]:
    """A single one may be shown as it grows."""
    from planner.cli.commands.opened_engines import opened_bench
    from planner.cli.playing import faults_of, play_many, play_one

    with opened_bench(work.scenario, is_measured=len(jobs) > 1) as opened:
        if is_shown:
            outcomes = [play_one(opened, jobs[0], screen)]
        else:
            with progress_bars() as track:
                outcomes = play_many(opened, jobs, pace, kept, track("real runs", len(jobs)))
        return outcomes, faults_of(opened, jobs, outcomes)


def _check_given(
    ctx: typer.Context, question: str | None, staircase: str | None, requests: int
) -> None:
    if staircase is None:
        refuse(ctx, "layout", "barrier", "without", why="without --staircase the plan's is played")
    if question is not None:
        refuse(ctx, "requests", "concurrency", "rate", why="QUESTION is one request")
    if requests == 1:
        refuse(ctx, "concurrency", "rate", why="it needs --requests of 2 or more")


def _show_runs(
    work: Workspace,
    lines: list[Timeline],
    said: list[Exchange],
    faults: list[Faults],
    as_json: bool,
) -> None:
    """Metrics; beside a single answer on stderr, as stdout is the answer's. A failure is told."""
    from planner.tables.metrics_table import metrics_table, run_lines
    from staircase.metrics.measured import measure_all
    from staircase.metrics.request_metrics import summarize
    from staircase.metrics.run_metrics import Slo, measure_run
    from staircase.metrics.shortfalls import count_shortfalls, missing_of, shortfall_lines
    from staircase.metrics.text_faults import text_figures

    measured = measure_all(lines, work.scenario.plan.reading_rate)
    scores = [one.score for one in said if one.score is not None]
    metrics = measured.summaries() if measured.answered else {}
    metrics |= {"score": summarize(scores)} if scores and metrics else {}
    metrics |= text_figures([one for one in faults if one]) if metrics else {}
    run = measure_run(measured, Slo())
    where = notes if len(lines) == 1 else screen
    if as_json:
        requests = [
            {
                **asdict(one),
                "error": line.error,
                "missing": missing_of(line),
                "faults": fault.words if fault else [],
            }
            for one, line, fault in zip(said, lines, faults, strict=True)
        ]
        figures = {name: asdict(one) for name, one in metrics.items()}
        print_json({"requests": requests, "metrics": figures, "run": asdict(run)})
    else:
        if metrics:
            where.print(metrics_table(metrics, "Measured"))
        for words in run_lines(run, []):
            where.print(words)
        told = shortfall_lines(count_shortfalls(lines), measured.answered)
        if len(lines) == 1 and faults[0]:
            told += [f"the answer {words}" for words in faults[0].words]
        for words in told:
            where.print(words, markup=False, soft_wrap=True)
    for line in lines:
        if line.error:
            raise EngineError(f"request {line.request}: {line.error}")


def engines(scenario: ScenarioPath, as_json: AsJson = False) -> None:
    """Ask the scenario's servers what they can do; says what its other engines are."""
    from planner.tables.engine_table import describe_engines, engine_table
    from staircase.spec.scenario import load_scenario

    found = describe_engines(load_scenario(scenario))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        screen.print(engine_table(found))
    for one in found:
        if one.error:
            raise EngineError(one.error)
