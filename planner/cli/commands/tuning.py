"""The closed loop: plan, play, correct the latency profile, plan again."""

from __future__ import annotations

from collections.abc import Callable
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
    progress_bars,
    screen,
    tell,
)
from staircase.bounds import LEAST_BUDGET_S, LEAST_TOLERANCE, LONGEST_RUN_S, MOST, MOST_TOLERANCE
from staircase.errors import ScenarioError

if TYPE_CHECKING:
    from planner.results.plans import Plan
    from planner.tuning.tuning_rounds import Effort, Tuned
    from planner.workspace import Workspace
    from profiles.latency.profile import LatencyProfile


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
    from planner.tuning.tuning_rounds import Effort

    work = open_workspace(scenario, out)
    spec = work.scenario
    effort = Effort(
        rounds,
        tolerance,
        requests or spec.requests.count,
        spec.plan.validated_front if front is None else front,
        budget,
    )
    tuned, last = tune_profiles(work, effort)
    if as_json:
        print_json({"latency": str(work.tuned_path), **_content(tuned)})
    else:
        _show(work, effort, tuned, last)


def tune_profiles(work: Workspace, effort: Effort) -> tuple[Tuned, Plan]:
    """Also the plan with the tuned profile, which is the scenario's plan from now on."""
    from executor.line_log import ItemLog
    from planner.api.engines import engines_of
    from planner.kept_work import kept_work
    from planner.sole_use import sole_use
    from planner.tuning.pace import reference_of
    from planner.tuning.run_log import PlayedRun
    from planner.tuning.tune import Tuner
    from profiles.latency.profile import save_latency
    from profiles.store import stored_hash

    for name in work.scenario.simulated:
        raise ScenarioError(f"engine {name!r} is simulated: there is nothing to measure and tune")
    forecaster = work.measured_forecaster()
    base = stored_hash(work.latency_path)
    key = _key(work, effort, base)
    with (
        sole_use(work.folder, "tune"),
        kept_work(work.tuning_path, [key], "runs", on_terminal()) as log,
        engines_of(work.scenario, on_terminal(), is_measured=True) as opened,
        progress_bars(between_steps=True) as track,
    ):
        tuner = Tuner(
            work.scenario,
            work.source,
            opened,
            forecaster,
            base,
            lambda latency: _search(work, latency, track),
            reference_of(opened, forecaster.pipeline, forecaster.latency),
            ItemLog(log, key, PlayedRun),
            effort,
            track,
        )
        tuned = tuner.run()
        save_latency(work.tuned_path, tuned.latency)
        found = _search(work, tuned.latency, track)
    return tuned, found


def _key(work: Workspace, effort: Effort, base: str) -> str:
    """Changes with everything that the runs of a round depend on."""
    from profiles.store import content_hash

    asked = [work.search_name({"latency": base}), effort.requests, effort.front, effort.budget_s]
    return content_hash(asked)


def _search(
    work: Workspace,
    latency: LatencyProfile,
    track: Callable[[str, int | None], Callable[[], None]],
) -> Plan:
    from planner.api.planning import Watcher, plan_of
    from profiles.latency.profile import latency_hash

    hashes = {**work.profile_hashes(), "latency": latency_hash(latency)}
    step = track("search", work.scenario.plan.trials)
    return plan_of(
        work,
        work.profile_forecaster_with(latency),
        watcher=Watcher(tried=step, said=tell),
        hashes=hashes,
    )


def _content(tuned: Tuned) -> dict[str, Any]:
    return {
        "verdict": tuned.verdict,
        "rounds": [asdict(one) for one in tuned.rounds],
        "tuning": asdict(tuned.latency.tuning) if tuned.latency.tuning else None,
    }


def _show(work: Workspace, effort: Effort, tuned: Tuned, last: Plan) -> None:
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
