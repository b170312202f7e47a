"""The closed loop: plan, play, correct the latency profile, plan again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.cli.terminal import (
    AsJson,
    OutFolder,
    Requests,
    ScenarioPath,
    finite,
    on_terminal,
    open_workspace,
    print_json,
    screen,
)
from staircase.bounds import LEAST_BUDGET_S, LEAST_TOLERANCE, LONGEST_RUN_S, MOST, MOST_TOLERANCE

if TYPE_CHECKING:
    from planner.results.plans import Plan
    from planner.tuning.tuning_rounds import Tuned, TuningEffort
    from planner.workspace import Workspace


def tune(
    scenario: ScenarioPath,
    rounds: Annotated[int, typer.Option(min=1, max=MOST, help="Rounds of real runs at most.")] = 2,
    tolerance: Annotated[
        float,
        typer.Option(
            min=LEAST_TOLERANCE,
            max=MOST_TOLERANCE,
            callback=finite,
            help="Median relative error of TTFT, at the runs' pace.",
        ),
    ] = 0.05,
    budget: Annotated[
        float | None,
        typer.Option(
            min=LEAST_BUDGET_S,
            max=LONGEST_RUN_S,
            callback=finite,
            help="Seconds of real runs in all rounds at most.",
        ),
    ] = None,
    requests: Requests = None,
    front: Annotated[
        int | None,
        typer.Option(min=0, max=MOST, help="Members of the front to play [default: scenario]."),
    ] = None,
    out: OutFolder = None,
    as_json: AsJson = False,
) -> None:
    """Plan, run the best points for real, correct the latency profile, until both agree.

    An interrupted tuning goes on where it was when the same is asked for again.
    """
    from planner.api.tuning import effort_of, tuned_of

    work = open_workspace(scenario, out)
    effort = effort_of(work, rounds, tolerance, budget, requests, front)
    found = tuned_of(work, effort, on_terminal())
    if as_json:
        print_json({"latency": str(work.tuned_path), **_content(found.tuned)})
    else:
        _show(work, effort, found.tuned, found.plan)


def _content(tuned: Tuned) -> dict[str, Any]:
    return {
        "verdict": tuned.verdict,
        "rounds": [asdict(one) for one in tuned.rounds],
        "tuning": asdict(tuned.latency.tuning) if tuned.latency.tuning else None,
    }


def _show(work: Workspace, effort: TuningEffort, tuned: Tuned, last: Plan) -> None:
    from planner.figures.describing import describe_schedule
    from planner.tables.tune_table import correction_lines, round_line, round_table, verdict_line

    for one in tuned.rounds:
        screen.print(round_table(one))
        screen.print(round_line(one), highlight=False)
    lines = [
        *correction_lines(tuned),
        verdict_line(tuned, effort),
        f"plan with the tuned profile: {describe_schedule(last.named()['chosen'].schedule)}",
        f"written: {work.tuned_path}",
        f"written: {work.plan_path}",
    ]
    for words in lines:
        screen.print(words, highlight=False)
