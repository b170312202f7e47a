"""Commands on real engines: play a schedule on them, ask what they can do."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.given import SCHEDULE, refuse, schedule_given
from planner.cli.terminal import (
    AsJson,
    AtOnce,
    BarrierWord,
    Checked,
    LayoutName,
    OutFolder,
    Requests,
    Revision,
    ScenarioPath,
    Show,
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
from staircase.bounds import LEAST_RATE, MOST, MOST_RATE
from staircase.errors import EngineError, InputError

if TYPE_CHECKING:
    from executor.opened_engines import OpenedEngines
    from executor.runtime import Job, Outcome
    from planner.api.running import Played
    from planner.workspace import Workspace
    from staircase.pipeline import Pipeline
    from staircase.workload import Question


Concurrency = Annotated[int, typer.Option(min=1, max=MOST, help="Requests at a time.")]
Rate = Annotated[
    float | None,
    typer.Option(
        min=LEAST_RATE,
        max=MOST_RATE,
        callback=finite,
        help="Requests a second, at random times.",
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(help="Write a record of the requests here, for 'compare' and 'judge'."),
]

AskedText = Annotated[
    str | None, typer.Argument(help="What to ask [default: the scenario's own questions].")
]
StaircaseWords = Annotated[
    str | None, typer.Option(help="As for 'simulate' [default: what the plan chose].")
]
Stdin = Annotated[
    bool, typer.Option("--stdin", help="Standard input is the pipeline's input, as it comes.")
]
StdinLines = Annotated[
    bool, typer.Option("--stdin-lines", help="The same, where each line is all that is there.")
]


def run(
    ctx: typer.Context,
    scenario: ScenarioPath,
    question: AskedText = None,
    staircase: StaircaseWords = None,
    layout: LayoutName = "append_rounds",
    barrier: BarrierWord = "all",
    window: WindowWord = "none",
    without: Without = None,
    at_once: AtOnce = None,
    checked: Checked = "0",
    show: Show = "settled",
    revision: Revision = "rewrite",
    requests: Requests = None,
    concurrency: Concurrency = 1,
    rate: Rate = None,
    stdin: Stdin = False,
    stdin_lines: StdinLines = False,
    out: OutFolder = None,
    trace: Trace = None,
    save: Record = None,
    as_json: AsJson = False,
) -> None:
    """Play a schedule on the real engines: watch one answer grow, or measure many.

    An interrupted run with --save goes on where it was when the same is asked for again.
    """
    from planner.api.running import Pace, planned_schedule, play, questions_of
    from staircase.files import check_writable
    from staircase.trace import write_trace
    from staircase.workload import Question

    _check_given(ctx, question, staircase, requests or 1)
    work = open_workspace(scenario, out)
    pipeline = work.scenario.pipeline.build()
    schedule = schedule_given(ctx, pipeline) if staircase else planned_schedule(work)
    asked = questions_of(work, requests or 1) if question is None else [Question(question)]
    live = _live_input(ctx, pipeline, asked) if stdin or stdin_lines else None
    if trace:
        check_writable(trace)
    is_shown = len(asked) == 1 and not as_json
    played = play(
        work,
        schedule,
        asked,
        Pace(concurrency, rate),
        save,
        on_terminal(),
        partial(_show_answer, live=live, takes_lines=stdin_lines, is_shown=is_shown)
        if is_shown or live
        else None,
    )
    if trace:
        write_trace(trace, {"real": played.timelines})
    _show_runs(work, played, as_json)


def _show_answer(
    opened: OpenedEngines, job: Job, live: str | None, takes_lines: bool, is_shown: bool
) -> Outcome:
    from executor.input_engine import LiveInput, LiveUpdates
    from planner.cli.live_view import play_shown

    if live:
        coming = LiveUpdates if takes_lines else LiveInput
        opened = opened.with_live_input(live, coming(sys.stdin.fileno()))
    if not is_shown:
        return opened.runtime.run([job])[0]
    return play_shown(opened, job, screen, may_fall=takes_lines)


def _live_input(ctx: typer.Context, pipeline: Pipeline, asked: list[Question]) -> str:
    """The name of the input that standard input is; what is ``asked`` has it."""
    refuse(ctx, "save", why="what comes by --stdin cannot be asked again")
    names = [one.name for one in pipeline.inputs]
    if len(names) != 1 or len(asked) != 1:
        raise InputError(
            f"--stdin: needs one request, and a pipeline with one input (pipeline.inputs), has "
            f"{', '.join(names) or 'none'}"
        )
    inputs = {**asked[0].inputs, names[0]: "what comes"}
    asked[0] = replace(asked[0], inputs=inputs, updates={})
    return names[0]


def _check_given(
    ctx: typer.Context, question: str | None, staircase: str | None, requests: int
) -> None:
    if staircase is None:
        refuse(ctx, *SCHEDULE, why="without --staircase the plan's is played")
    if question is not None:
        refuse(ctx, "requests", "concurrency", "rate", why="QUESTION is one request")
    if requests == 1:
        refuse(ctx, "concurrency", "rate", why="it needs --requests of 2 or more")


def _show_runs(work: Workspace, played: Played, as_json: bool) -> None:
    """Metrics; beside a single answer on stderr, as stdout is the answer's. A failure is told."""
    from planner.tables.metrics_table import metrics_table, run_lines
    from staircase.metrics.item_counts import item_lines
    from staircase.metrics.measured import measure_all
    from staircase.metrics.request_metrics import summarize
    from staircase.metrics.run_metrics import Slo, measure_run
    from staircase.metrics.shortfalls import count_shortfalls, missing_of, shortfall_lines
    from staircase.metrics.text_faults import text_figures

    lines, said, faults = played.timelines, played.exchanges, played.faults
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
                "votes": {name: asdict(vote) for name, vote in line.votes.items()},
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
        told += item_lines(work.scenario.pipeline.build(), lines)
        if len(lines) == 1 and faults[0]:
            told += [f"the answer {words}" for words in faults[0].words]
        if len(lines) == 1:
            told += [vote.words(name) for name, vote in lines[0].votes.items()]
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
