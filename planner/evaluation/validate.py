"""Validation: the plan's schedules on real engines, forecast beside measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from executor.answer_text import text_faults
from executor.kept_runs import play_kept
from executor.opened_engines import OpenedEngines, read_dataset
from executor.runtime import Job, Outcome
from executor.scoring.scores import AnswerScorer, answer_scorer
from planner.evaluation.model_figures import (
    ReadRun,
    left_out,
    likelihood_figures,
    model_figures,
    quality_figures,
)
from planner.profiling.latency_profiling import requests_key
from planner.progress import Track, no_track
from planner.results.breakdown import median_request, ttft_parts
from planner.results.plans import Candidate, Plan, spread_out
from planner.results.recorded_runs import AskedRun
from planner.results.validation import AnsweredQuestion, TextSample, Validation, ValidationRow
from planner.results.validation_log import ValidationLog
from profiles.store import content_hash
from simulator.unread import unread_of_timeline
from staircase.metrics.distributions import distributions
from staircase.metrics.measured import measure_all
from staircase.metrics.request_metrics import Summary, summarize
from staircase.metrics.shortfalls import count_shortfalls
from staircase.metrics.text_faults import TextFaults, text_figures
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.spec.scenario import Scenario
from staircase.timeline import since_arrival
from staircase.workload import Question, RequestShape

# Questions of the validation start here, far from those that the quality profile was made of.
FRESH = 1_000_000
# Questions whose answers are kept as samples.
SAMPLES = 3


def validate(
    scenario: Scenario,
    folder: Path,
    plan: Plan,
    opened: OpenedEngines,
    requests: int,
    front: int = 5,
    track: Track = no_track,
    call_ps: Mapping[str, int] | None = None,
    kept: ValidationLog | None = None,
) -> tuple[Validation, dict[str, list[AskedRun]]]:
    """Plays the named candidates and ``front`` more of the front; also returns their runs.

    Agents that sample draw the same for a question under every schedule, so that their drafts are
    the same too. Schedules take turns, so that a machine's drift hits all alike, and never play
    the same question one after the other, so that none finds another's prompt in the KV cache.

    Args:
        call_ps: what passes before a call reaches an engine, by engine, as the profile has it.
        kept: what is finished; none of it is done again.

    Raises:
        EngineError: a request failed, or a text could not be scored.
        ModelError: a model that scores cannot be loaded, which is told before anything is played.
    """
    pipeline, scorer = scenario.pipeline.build(), answer_scorer(scenario.requests, folder)
    opened.load_scorers(pipeline)
    if opened.other_reader:
        opened.other_reader.load()
    played = _play(scenario, folder, plan, opened, requests, front, track, kept)
    # The user's own function comes before what takes minutes.
    scores = {name: _scores(scorer, pipeline, runs) for name, runs in played.items()}
    every = [run for runs in played.values() for run in runs]
    found = iter(model_figures(opened, pipeline, every, kept, track))
    said = {name: [next(found) for _ in runs] for name, runs in played.items()}
    normal = dict(zip((run.question for run in played["normal"]), said["normal"], strict=True))
    rows = []
    for name, candidate in contenders(plan, front).items():
        runs = played[name]
        beside = [normal[run.question] for run in runs] if name != "normal" else []
        figures = {**quality_figures(said[name]), **scores[name]}
        figures |= likelihood_figures(said[name], beside)
        row = _row(scenario, opened, (name, candidate), runs, figures, call_ps or {})
        rows.append(replace(row, left_out=left_out(said[name])))
    checked = Validation.of(plan, rows, requests, scenario.requests.likelihood_by)
    named = {name: played[name] for name in plan.named()}
    checked = replace(checked, samples=tuple(_samples(pipeline, named)))
    return checked, {name: [run.asked for run in runs] for name, runs in played.items()}


def _play(
    scenario: Scenario,
    folder: Path,
    plan: Plan,
    opened: OpenedEngines,
    requests: int,
    front: int,
    track: Track,
    kept: ValidationLog | None,
) -> dict[str, list[ReadRun]]:
    """By the schedule's name, in the order in which they were played."""
    pipeline, chosen = scenario.pipeline.build(), contenders(plan, front)
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
    step = track("real runs", len(jobs))
    outcomes = play_kept(opened.runtime, jobs, kept.runs if kept else None, step)
    played = {
        name: [
            AskedRun(questions[number], outcome)
            for number, outcome in zip(asked[name], outcomes[place :: len(chosen)], strict=True)
        ]
        for place, name in enumerate(chosen)
    }
    fully = dict(zip(asked["normal"], played["normal"], strict=True))
    return {
        name: [
            ReadRun(number, chosen[name].schedule.layout, run, fully[number].outcome)
            for number, run in zip(asked[name], runs, strict=True)
        ]
        for name, runs in played.items()
    }


def _row(
    scenario: Scenario,
    opened: OpenedEngines,
    named: tuple[str, Candidate],
    runs: Sequence[ReadRun],
    figures: Mapping[str, Summary],
    call_ps: Mapping[str, int],
) -> ValidationRow:
    """What was measured of a schedule; ``figures``: what its answers came to."""
    (name, candidate), pipeline = named, scenario.pipeline.build()
    answers = [run.outcome.texts[pipeline.answer] for run in runs]
    questions = [run.asked.question for run in runs]
    served = opened.runtime.served
    faults = [text_faults(pipeline, served, run.asked.question, run.outcome) for run in runs]
    lines = [run.outcome.timeline for run in runs]
    measured = {
        **measure_all(lines, scenario.plan.reading_rate).summaries(),
        "unread": _unread(pipeline, candidate.schedule, runs),
        **figures,
        **text_figures(faults),
    }
    return ValidationRow(
        name,
        candidate,
        measured,
        ttft_parts(lines, pipeline, candidate.schedule, call_ps),
        since_arrival(lines[median_request(lines)]),
        count_shortfalls(lines),
        _worst(questions, answers, faults),
        distributions=distributions(lines),
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
    """The named candidates, and ``front`` others of the front.

    A schedule whose whole forecast is that of a named one plays the same, as ``normal`` does in
    every layout: it is no other.
    """
    named = plan.named()
    known = [one.forecast for one in named.values()]
    others = [n for n in plan.front if plan.candidates[n].forecast not in known]
    spread = spread_out(others, front)
    return named | {f"front {n + 1}": plan.candidates[k] for n, k in enumerate(spread)}


def _unread(pipeline: Pipeline, schedule: Schedule, runs: Sequence[ReadRun]) -> Summary:
    """Drafts that were cancelled count as long as in the fully read runs of the same questions."""
    return summarize(
        [
            unread_of_timeline(
                pipeline, schedule, run.outcome.timeline, _whole(pipeline, run.outcome, run.full)
            )
            for run in runs
        ]
    )


def _whole(pipeline: Pipeline, outcome: Outcome, full: Outcome) -> RequestShape:
    longest = {
        agent.name: max(len(one.ids[agent.name]) for one in (outcome, full)) for agent in pipeline
    }
    return RequestShape({}, longest)


def _scores(
    scorer: AnswerScorer, pipeline: Pipeline, runs: Sequence[ReadRun]
) -> dict[str, Summary]:
    """Nothing where there is no reference."""
    scores = [scorer(run.asked.question, run.outcome.texts[pipeline.answer]) for run in runs]
    known = [score for score in scores if score is not None]
    return {"score": summarize(known)} if known else {}


def _samples(
    pipeline: Pipeline, played: Mapping[str, Sequence[ReadRun]]
) -> Iterator[AnsweredQuestion]:
    """The first questions, answered by every schedule."""
    for number in range(min(SAMPLES, *map(len, played.values()))):
        runs = {
            name: next(run.asked for run in some if run.question == number)
            for name, some in played.items()
        }
        answers = {name: one.outcome.texts[pipeline.answer] for name, one in runs.items()}
        yield AnsweredQuestion(runs["normal"].question.text, answers)


def _worst(
    questions: Sequence[Question], answers: Sequence[str], faults: Sequence[TextFaults]
) -> TextSample | None:
    place = max(range(len(faults)), key=lambda number: faults[number].weight)
    if not faults[place].words:
        return None
    return TextSample(questions[place].text, answers[place], tuple(faults[place].words))
