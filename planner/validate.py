"""Validation: the plan's schedules on real engines, forecast beside measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from executor.answer_text import text_faults
from executor.bench import Bench, read_dataset
from executor.kept_runs import play_kept
from executor.line_log import ItemLog
from executor.measure_quality import measure_quality
from executor.runtime import Job, Outcome
from executor.scores import AnswerScorer, answer_scorer
from planner.breakdown import median_request, ttft_parts
from planner.plans import Candidate, Plan, spread_out
from planner.profiling import requests_key
from planner.recorded_runs import AskedRun
from planner.validation import Row, TextSample, Validation
from profiles.store import content_hash
from simulator.unread import unread_of_timeline
from staircase.measured import measure_all
from staircase.metrics import Summary, summarize
from staircase.pipeline import Pipeline
from staircase.scenario import Scenario
from staircase.shortfalls import count_shortfalls
from staircase.text_faults import TextFaults, text_figures
from staircase.timeline import since_arrival
from staircase.workload import Question, RequestShape

# Questions of the validation start here, far from those that the quality profile was made of.
FRESH = 1_000_000


def validate(
    scenario: Scenario,
    folder: Path,
    plan: Plan,
    bench: Bench,
    requests: int,
    front: int = 5,
    on_done: Callable[[], None] = lambda: None,
    call_ps: Mapping[str, int] | None = None,
    kept: ItemLog[Outcome] | None = None,
) -> tuple[Validation, dict[str, list[AskedRun]]]:
    """Plays the named candidates and ``front`` more of the front; also returns their runs.

    Agents that sample draw the same for a question under every schedule, so that their drafts are
    the same too. Schedules take turns, so that a machine's drift hits all alike, and never play
    the same question one after the other, so that none finds another's prompt in the KV cache.

    Args:
        call_ps: what passes before a call reaches an engine, by engine, as the profile has it.
        kept: runs that are over; they are not played again.

    Raises:
        EngineError: a request failed.
    """
    pipeline, scorer = scenario.pipeline.build(), answer_scorer(scenario.requests, folder)
    chosen = contenders(plan, front)
    questions = read_dataset(scenario, folder, requests, offset=FRESH)
    places, turns = len(chosen), range(requests)
    asked = {
        name: [question_at(turn, place, places, requests) for turn in turns]
        for place, name in enumerate(chosen)
    }
    jobs = [
        Job(pipeline, candidate.schedule, questions[asked[name][turn]], asked[name][turn])
        for turn in turns
        for name, candidate in chosen.items()
    ]
    outcomes = play_kept(bench.runtime, jobs, kept, on_done)
    played = {
        name: [
            AskedRun(questions[number], outcome)
            for number, outcome in zip(asked[name], outcomes[place :: len(chosen)], strict=True)
        ]
        for place, name in enumerate(chosen)
    }
    fully = dict(zip(asked["normal"], played["normal"], strict=True))
    rows = [
        _row(
            scenario,
            bench,
            (name, candidate),
            played[name],
            [fully[number].outcome for number in asked[name]],
            scorer,
            call_ps or {},
        )
        for name, candidate in chosen.items()
    ]
    return Validation.of(plan, rows, requests), played


def _row(
    scenario: Scenario,
    bench: Bench,
    named: tuple[str, Candidate],
    runs: Sequence[AskedRun],
    full: Sequence[Outcome],
    scorer: AnswerScorer,
    call_ps: Mapping[str, int],
) -> Row:
    """What was measured of a schedule; ``full``: what was read in full, by question."""
    (name, candidate), pipeline = named, scenario.pipeline.build()
    outcomes, questions = [run.outcome for run in runs], [run.question for run in runs]
    answers = [outcome.texts[pipeline.answer] for outcome in outcomes]
    served = bench.runtime.served
    faults = [text_faults(pipeline, served, run.question, run.outcome) for run in runs]
    measured = {
        **_measure(scenario, bench, candidate, outcomes, full),
        **_scores(scorer, questions, answers),
        **text_figures(faults),
    }
    lines = [outcome.timeline for outcome in outcomes]
    return Row(
        name,
        candidate,
        measured,
        ttft_parts(lines, pipeline, candidate.schedule, call_ps),
        since_arrival(lines[median_request(lines)]),
        count_shortfalls(lines),
        _worst(questions, answers, faults),
    )


def runs_key(scenario: Scenario, folder: Path, plan: Plan, requests: int, front: int) -> str:
    """Of the runs that ``validate`` plays."""
    played = [[name, one.schedule.key] for name, one in contenders(plan, front).items()]
    asked = list(map(repr, read_dataset(scenario, folder, requests, offset=FRESH)))
    return content_hash([requests_key(scenario), played, asked])


def question_at(turn: int, place: int, places: int, requests: int) -> int:
    """Of ``requests`` questions, which one the schedule at ``place`` of ``places`` plays.

    Never that of the run before, also from one turn to the next, if there are three or more.
    """
    repeats = (places - 1) % requests == 1
    return (turn - place if repeats else turn + place) % requests


def contenders(plan: Plan, front: int) -> dict[str, Candidate]:
    """The named candidates, and ``front`` others of the front."""
    named = plan.named()
    others = [n for n in plan.front if plan.candidates[n] not in named.values()]
    spread = spread_out(others, front)
    return named | {f"front {n + 1}": plan.candidates[k] for n, k in enumerate(spread)}


def _measure(
    scenario: Scenario,
    bench: Bench,
    candidate: Candidate,
    outcomes: Sequence[Outcome],
    full: Sequence[Outcome],
) -> dict[str, Summary]:
    timelines, pipeline = [outcome.timeline for outcome in outcomes], scenario.pipeline.build()
    return {
        **measure_all(timelines, scenario.plan.reading_rate).summaries(),
        "unread": _unread(pipeline, outcomes, full),
        **_quality(pipeline, bench, candidate, outcomes, full),
    }


def _unread(pipeline: Pipeline, outcomes: Sequence[Outcome], full: Sequence[Outcome]) -> Summary:
    """Drafts that were cancelled count as long as in the fully read runs of the same questions."""
    return summarize(
        [
            unread_of_timeline(pipeline, outcome.timeline, _whole(pipeline, outcome, normal))
            for outcome, normal in zip(outcomes, full, strict=True)
        ]
    )


def _whole(pipeline: Pipeline, outcome: Outcome, full: Outcome) -> RequestShape:
    longest = {
        agent.name: max(len(one.ids[agent.name]) for one in (outcome, full)) for agent in pipeline
    }
    return RequestShape({}, longest)


def _scores(
    scorer: AnswerScorer, questions: Sequence[Question], answers: Sequence[str]
) -> dict[str, Summary]:
    """Nothing where there is no reference."""
    scores = [scorer(*pair) for pair in zip(questions, answers, strict=True)]
    known = [score for score in scores if score is not None]
    return {"score": summarize(known)} if known else {}


def _worst(
    questions: Sequence[Question], answers: Sequence[str], faults: Sequence[TextFaults]
) -> TextSample | None:
    place = max(range(len(faults)), key=lambda number: faults[number].weight)
    if not faults[place].words:
        return None
    return TextSample(questions[place].text, answers[place], tuple(faults[place].words))


def _quality(
    pipeline: Pipeline,
    bench: Bench,
    candidate: Candidate,
    outcomes: Sequence[Outcome],
    full: Sequence[Outcome],
) -> dict[str, Summary]:
    """Nothing where a text came from a model that cannot be asked how probable it is."""
    if not bench.can_score(pipeline):
        return {}
    scorer = bench.scorers_of(pipeline)[pipeline.answer]
    layout = candidate.schedule.layout
    pairs = zip(outcomes, full, strict=True)
    measured = [measure_quality(pipeline, scorer, *pair, layout) for pair in pairs]
    return {
        name: summarize([getattr(quality, name) for quality in measured])
        for name in ("loss", "agreement", "nll_gap")
    }
