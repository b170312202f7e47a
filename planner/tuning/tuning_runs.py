"""Plays questions for a tuning on the real engines, and takes the machine's pace after each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from executor.kept_runs import check_answered
from executor.measure.measure_quality import measure_quality
from executor.measure.whole_drafts import has_cut_drafts
from executor.opened_engines import OpenedEngines
from executor.runtime import Job, Outcome
from planner.tuning.pace import Reference
from planner.tuning.run_log import PlayedRun, fixed_tokens
from staircase.errors import EngineError
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.workload import Question


@dataclass
class Player:
    """Plays a question, then takes the machine's pace.

    Attributes:
        reference: None where the machine's pace cannot be told; it counts as 1.
        warm_up: played before the first one, which is another: no cache may know it.
    """

    opened: OpenedEngines
    pipeline: Pipeline
    reference: Reference | None
    warm_up: Question
    _count: int = 0
    _fully: dict[str, Outcome] = field(default_factory=dict)

    def play(self, schedule: Schedule, question: Question) -> PlayedRun:
        """Its place in a round is not known here.

        Raises:
            EngineError: there is no complete answer, or the reference failed.
        """
        job = Job(self.pipeline, schedule, question)
        if not self._count:
            self.opened.runtime.run([replace(job, question=self.warm_up)])
            self._pace()
        outcome = self.opened.runtime.run([job])[0]
        check_answered(outcome)
        pace, loss = self._pace(), self._loss(job, outcome)
        lengths = fixed_tokens(outcome)
        line, updates = outcome.timeline, outcome.updates
        return PlayedRun(0, 0, "", 0, schedule, line, lengths, pace, loss, updates)

    def _loss(self, job: Job, outcome: Outcome) -> float | None:
        if not self.opened.can_score(self.pipeline):
            return None
        scorers = self.opened.scorers_of(self.pipeline)
        is_cut = has_cut_drafts(self.pipeline, outcome)
        full = self._fully_read(job) if is_cut else outcome
        return measure_quality(self.pipeline, scorers, outcome, full, job.schedule.layout).loss

    def _fully_read(self, job: Job) -> Outcome:
        """Played once a question."""
        name = repr(job.question)
        if name not in self._fully:
            self._fully[name] = self.opened.runtime.run([replace(job, schedule=Schedule())])[0]
            check_answered(self._fully[name])
        return self._fully[name]

    def _pace(self) -> float:
        self._count += 1
        try:
            return self.reference.pace(self._count) if self.reference else 1.0
        except RuntimeError as error:
            raise EngineError(f"the call that tells the machine's pace failed: {error}") from None
