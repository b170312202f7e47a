"""``staircase run``: a schedule on a scenario's real engines, for one's own questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console

from executor.answer_text import text_faults
from executor.kept_runs import play_kept
from executor.line_log import ItemLog
from executor.opened_engines import OpenedEngines, read_dataset
from executor.runtime import Job, Outcome
from executor.scoring.scores import AnswerScorer
from planner.cli.live_view import LiveView
from planner.evaluation.validate import FRESH
from planner.profiling.latency_profiling import requests_key
from planner.results.plans import load_plan
from planner.workspace import Workspace
from profiles.store import content_hash
from staircase.errors import PlanError
from staircase.metrics.text_faults import TextFaults
from staircase.records import Exchange
from staircase.schedule import Schedule
from staircase.spec.scenario import Scenario
from staircase.workload import Question

Faults = TextFaults | None


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


def questions_of(work: Workspace, text: str | None, count: int) -> list[Question]:
    """The one asked, or those of the scenario's dataset."""
    if text is not None:
        return [Question(text)]
    return read_dataset(work.scenario, work.source, count, offset=FRESH)


def exchange_of(job: Job, outcome: Outcome, scorer: AnswerScorer) -> Exchange:
    """What was asked and answered; an answer that broke off is none."""
    question, answer = job.question, outcome.texts[job.pipeline.answer]
    if outcome.timeline.error:
        return Exchange(question=question.text, reference=question.reference)
    score = scorer(question, answer)
    return Exchange(
        question=question.text, reference=question.reference, answer=answer, score=score
    )


def faults_of(
    opened: OpenedEngines, jobs: Sequence[Job], outcomes: Sequence[Outcome]
) -> list[Faults]:
    """None for answers that broke off."""
    served = opened.runtime.served
    return [
        None if one.timeline.error else text_faults(job.pipeline, served, job.question, one)
        for job, one in zip(jobs, outcomes, strict=True)
    ]


def play_one(opened: OpenedEngines, job: Job, screen: Console) -> Outcome:
    """Plays one request and shows it meanwhile."""
    view = LiveView(job.pipeline, opened.runtime.served, screen)
    with view.shown():
        return opened.runtime.run([job], on_token=view.on_token)[0]


def play_many(
    opened: OpenedEngines,
    jobs: Sequence[Job],
    pace: Pace,
    kept: ItemLog[Outcome] | None,
    on_done: Callable[[], None],
) -> list[Outcome]:
    """What is ``kept`` is not played again."""
    return play_kept(
        opened.runtime,
        jobs,
        kept,
        on_done,
        concurrency=pace.concurrency,
        arrivals_s=pace.arrivals_s(len(jobs)),
        must_answer=False,
    )


def run_key(scenario: Scenario, jobs: Sequence[Job], pace: Pace) -> str:
    """Of what ``play_many`` plays."""
    asked = [[job.schedule.key, repr(job.question)] for job in jobs]
    return content_hash([requests_key(scenario), asked, asdict(pace)])
