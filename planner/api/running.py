"""Running: what ``staircase run`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from executor.answer_text import text_faults
from executor.kept_runs import play_kept
from executor.line_log import ItemLog
from executor.opened_engines import OpenedEngines, read_dataset
from executor.runtime import Job, Outcome
from executor.scoring.scores import AnswerScorer, answer_scorer
from planner.api.engines import engines_of
from planner.api.opening import AnyScenario, AnySchedule, check_count, schedule_of, workspace_of
from planner.evaluation.validate import FRESH
from planner.kept_work import kept_work
from planner.profiling.latency_profiling import requests_key
from planner.progress import SILENT, Progress
from planner.results.plans import load_plan
from planner.sole_use import sole_use
from planner.workspace import Workspace
from profiles.store import content_hash
from staircase.errors import InputError, PlanError
from staircase.files import check_writable, is_no_file
from staircase.metrics.text_faults import TextFaults
from staircase.records import Exchange, write_records
from staircase.schedule import Schedule
from staircase.spec.scenario import Scenario
from staircase.timeline import Timeline
from staircase.workload import Question

Player = Callable[[OpenedEngines, Job], Outcome]


@dataclass(frozen=True)
class Pace:
    """How requests arrive: ``concurrency`` at a time, and, with a rate, at random times."""

    concurrency: int = 1
    rate_per_s: float | None = None
    seed: int = 0

    def arrivals_s(self, count: int) -> list[float] | None:
        if self.rate_per_s is None:
            return None
        gaps = np.random.default_rng(self.seed).exponential(1 / self.rate_per_s, count)
        return [float(second) for second in np.cumsum(gaps)]


@dataclass(frozen=True)
class Played:
    """Requests that were played on real engines.

    Attributes:
        exchanges: what was asked and answered, by request.
        faults: what is wrong with each answer as a text; None for one that broke off.
    """

    timelines: list[Timeline]
    exchanges: list[Exchange]
    faults: list[TextFaults | None]


def run(
    scenario: AnyScenario,
    questions: str | Sequence[str] | None = None,
    schedule: AnySchedule | None = None,
    *,
    requests: int = 1,
    pace: Pace = Pace(),
    out: str | Path | None = None,
    save: str | Path | None = None,
    progress: Progress = SILENT,
) -> Played:
    """Plays a schedule on the scenario's real engines.

    Args:
        questions: what to ask [default: so many ``requests`` of the scenario's dataset].
        schedule: [default: what the scenario's plan chose].
        out: folder in which the plan lies [default: runs/NAME].
        save: a file for the record of the requests; with it, what was interrupted goes on where it
            was.

    Raises:
        InputError: the scenario, a schedule or a question is wrong, or there is no plan.
        EngineError: an engine failed.
    """
    work = workspace_of(scenario, out)
    check_count("requests", requests)
    texts = [questions] if isinstance(questions, str) else questions
    if texts is not None and not (texts and all(isinstance(text, str) for text in texts)):
        raise InputError(f"questions: {questions!r} must be a text or a list of texts")
    asked = questions_of(work, requests) if texts is None else list(map(Question, texts))
    pipeline = work.scenario.pipeline.build()
    played = planned_schedule(work) if schedule is None else schedule_of(pipeline, schedule)
    path = None if save is None else Path(save)
    return play(work, played, asked, pace, path, progress)


def play(
    work: Workspace,
    schedule: Schedule,
    questions: Sequence[Question],
    pace: Pace,
    save: Path | None = None,
    progress: Progress = SILENT,
    play_one: Player | None = None,
) -> Played:
    """The same of a workspace.

    Args:
        play_one: plays a single question in a way of its own.
    """
    pipeline = work.scenario.pipeline.build()
    jobs = [Job(pipeline, schedule, one) for one in questions]
    scorer = answer_scorer(work.scenario.requests, work.source)
    if save:
        check_writable(save)
    with (
        _kept(save, run_key(work.scenario, jobs, pace), progress) as kept,
        engines_of(work.scenario, progress, is_measured=len(jobs) > 1) as opened,
    ):
        if play_one and len(jobs) == 1:
            outcomes = [play_one(opened, jobs[0])]
        else:
            outcomes = _play_many(opened, jobs, pace, kept, progress)
        found = _played(opened, jobs, outcomes, scorer)
        if save:
            rate = work.scenario.plan.reading_rate
            write_records(save, found.timelines, rate, found.exchanges)
    return found


def planned_schedule(work: Workspace) -> Schedule:
    """The one that the scenario's plan chose.

    Raises:
        PlanError: there is no plan.
    """
    if not work.plan_path.is_file():
        raise PlanError(
            f"{work.plan_path}: no plan; make one with 'staircase plan', or give --staircase"
        )
    return load_plan(work.plan_path).named()["chosen"].schedule


def questions_of(work: Workspace, count: int) -> list[Question]:
    """Of the scenario's dataset."""
    return read_dataset(work.scenario, work.source, count, offset=FRESH)


def run_key(scenario: Scenario, jobs: Sequence[Job], pace: Pace) -> str:
    """Changes with everything that the outcomes of ``jobs`` depend on."""
    asked = [[job.schedule.key, repr(job.question)] for job in jobs]
    return content_hash([requests_key(scenario), asked, asdict(pace)])


@contextmanager
def _kept(save: Path | None, key: str, progress: Progress) -> Iterator[ItemLog[Outcome] | None]:
    """Finished runs, kept beside the record to come; None where none is written."""
    if save is None or is_no_file(save):
        yield None
        return
    with (
        sole_use(save, "run", is_file=True),
        kept_work(save.with_suffix(".partial.jsonl"), [key], "runs", progress) as log,
    ):
        yield ItemLog(log, key, Outcome)


def _play_many(
    opened: OpenedEngines,
    jobs: Sequence[Job],
    pace: Pace,
    kept: ItemLog[Outcome] | None,
    progress: Progress,
) -> list[Outcome]:
    """What is ``kept`` is not played again."""
    with progress.tracking() as track:
        return play_kept(
            opened.runtime,
            jobs,
            kept,
            track("real runs", len(jobs)),
            concurrency=pace.concurrency,
            arrivals_s=pace.arrivals_s(len(jobs)),
            must_answer=False,
        )


def _played(
    opened: OpenedEngines, jobs: Sequence[Job], outcomes: Sequence[Outcome], scorer: AnswerScorer
) -> Played:
    pairs = list(zip(jobs, outcomes, strict=True))
    served = opened.runtime.served
    return Played(
        [one.timeline for one in outcomes],
        [_exchange(job, one, scorer) for job, one in pairs],
        [
            None if one.timeline.error else text_faults(job.pipeline, served, job.question, one)
            for job, one in pairs
        ],
    )


def _exchange(job: Job, outcome: Outcome, scorer: AnswerScorer) -> Exchange:
    """What was asked and answered; an answer that broke off is none."""
    question, answer = job.question, outcome.texts[job.pipeline.answer]
    if outcome.timeline.error:
        return Exchange(question=question.text, reference=question.reference)
    score = scorer(question, answer)
    return Exchange(
        question=question.text, reference=question.reference, answer=answer, score=score
    )
