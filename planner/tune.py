"""The closed loop: plan, run the best points, correct the profile where they differ, plan again.

A round's runs are fresh questions, so its forecasts are judged on runs that no correction has
seen; then the corrections are fitted anew on the runs of all rounds so far. A forecast is of
seconds, and a machine's pace changes between two rounds: the error that decides is that of the
forecast for the pace of the runs, which is measured between them (``planner.pace``); the other is
told beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from executor.bench import Bench, read_dataset
from executor.measure_quality import measure_quality
from executor.runtime import Job
from planner.correcting import as_measured, corrected, fit_corrections, mean_pace
from planner.pace import Reference
from planner.plan import Candidate, Plan
from planner.played_runs import PlayedRun, RunLog, fixed_tokens
from planner.profiling import Track, no_track
from planner.validate import check_outcome, contenders, question_at
from profiles.latency import LatencyProfile
from profiles.tuning import Correction, JudgedRound, Tuning
from simulator.forecaster import Forecaster
from staircase.errors import EngineError
from staircase.measured import measure_all
from staircase.pipeline import Pipeline
from staircase.scenario import Scenario
from staircase.timeline import to_s
from staircase.workload import Question

# Questions of the rounds start here, far from those of profiles and of validation.
FRESH = 2_000_000
# A round of fewer turns, as a budget may leave it, is not judged.
LEAST_TURNS = 3

Verdict = Literal["agreed", "rounds used", "budget used"]


@dataclass(frozen=True)
class Effort:
    """How long to go on.

    Attributes:
        tolerance: of the median relative error of TTFT, for the pace of the runs.
        requests: that each schedule plays in a round.
        front: members of the front that are played beside the named candidates.
        budget_s: of real runs in all rounds; None: no limit.
    """

    rounds: int = 2
    tolerance: float = 0.05
    requests: int = 12
    front: int = 5
    budget_s: float | None = None


@dataclass(frozen=True)
class Row:
    """TTFT of one schedule in one round: forecast from the measured profile, from the corrected one
    before the runs, from this for the pace of the runs; and measured."""

    name: str
    candidate: Candidate
    untuned_s: float
    tuned_s: float
    at_pace_s: float
    measured_s: float
    loss: float | None


@dataclass(frozen=True)
class Round:
    """One round, and how its forecasts met its runs."""

    judged: JudgedRound
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Tuned:
    """What came of it; ``latency`` is corrected for the pace of the last round."""

    verdict: Verdict
    rounds: tuple[Round, ...]
    latency: LatencyProfile


@dataclass
class Tuner:
    """Tunes the latency profile of ``forecaster``, the measured one.

    Attributes:
        base: its hash.
        search: makes a plan with a profile.
        reference: tells the machine's pace; None where it has none.
        log: of the runs; those that it holds are not played again.
    """

    scenario: Scenario
    folder: Path
    bench: Bench
    forecaster: Forecaster
    base: str
    search: Callable[[LatencyProfile], Plan]
    reference: Reference | None
    log: RunLog
    effort: Effort = field(default_factory=Effort)
    track: Track = no_track
    _rounds: list[Round] = field(default_factory=list)
    _seen: list[PlayedRun] = field(default_factory=list)
    _fitted_on: tuple[int, ...] = ()

    def run(self) -> Tuned:
        """Until forecast and runs agree, or rounds or budget are used.

        Raises:
            PlanError: a request failed, or no schedule keeps the plan's limits.
            EngineError: the reference failed.
        """
        corrections, pace = as_measured(self.forecaster.latency), 1.0
        for number in range(1, self.effort.rounds + 1):
            latency = self._corrected(corrections, pace) if number > 1 else self.forecaster.latency
            plan = self.search(latency)
            runs = self._play(number, contenders(plan, self.effort.front))
            if not runs:
                return self._tuned("budget used", corrections, pace)
            judged = self._judge(number, plan, runs, pace)
            self._rounds.append(judged)
            self._seen += runs
            pace = judged.judged.pace
            if judged.judged.at_pace <= self.effort.tolerance:
                return self._tuned("agreed", corrections, pace)
            corrections = fit_corrections(self.forecaster, self._seen)
            self._fitted_on = (*self._fitted_on, number)
        return self._tuned("rounds used", corrections, pace)

    def _tuned(self, verdict: Verdict, corrections: Mapping[str, Correction], pace: float) -> Tuned:
        return Tuned(verdict, tuple(self._rounds), self._corrected(corrections, pace))

    def _corrected(self, corrections: Mapping[str, Correction], pace: float) -> LatencyProfile:
        now = {name: correction.at(pace) for name, correction in corrections.items()}
        rounds = tuple(one.judged for one in self._rounds)
        tuning = Tuning(self.base, dict(corrections), pace, self._fitted_on, rounds)
        return replace(corrected(self.forecaster.latency, now), tuning=tuning)

    def _play(self, number: int, named: Mapping[str, Candidate]) -> list[PlayedRun]:
        """The runs of a round's whole turns; none if the budget leaves too few."""
        requests = self.effort.requests
        questions = read_dataset(
            self.scenario, self.folder, requests, offset=FRESH + number * requests
        )
        step = self.track(f"round {number}: real runs", requests * len(named))
        player = _Player(self.bench, self.forecaster.pipeline, self.reference, questions[-1])
        turns = list[list[PlayedRun]]()
        while len(turns) < requests:
            turn = len(turns)
            known = self._known(number, turn, named)
            if len(known) < len(named) and self._is_budget_used():
                break
            for place, (name, candidate) in enumerate(named.items()):
                if name not in known:
                    asked = question_at(turn, place, len(named), requests)
                    run = player.play(candidate, questions[asked])
                    run = replace(run, round=number, turn=turn, name=name, question=asked)
                    self.log.note(run)
                    known[name] = run
                step()
            turns.append(list(known.values()))
        is_enough = len(turns) >= min(LEAST_TURNS, requests)
        return [run for turn_ in turns for run in turn_] if is_enough else []

    def _known(
        self, number: int, turn: int, named: Mapping[str, Candidate]
    ) -> dict[str, PlayedRun]:
        """By name, what the log has of this turn; not of a schedule that now is another."""
        return {
            run.name: run
            for run in self.log.runs
            if (run.round, run.turn) == (number, turn)
            and run.name in named
            and run.schedule == named[run.name].schedule
        }

    def _is_budget_used(self) -> bool:
        budget_s = self.effort.budget_s
        lines = [run.timeline for run in self.log.runs]
        spent_s = sum(to_s(line.completed_ps - line.arrival_ps) for line in lines)
        return budget_s is not None and spent_s >= budget_s

    def _judge(
        self, number: int, plan: Plan, runs: Sequence[PlayedRun], pace_before: float
    ) -> Round:
        pace = mean_pace(runs)
        rows = tuple(
            self._row(name, candidate, [run for run in runs if run.name == name], pace, pace_before)
            for name, candidate in contenders(plan, self.effort.front).items()
        )
        figures = {
            name: float(np.median([abs(getattr(r, name) / r.measured_s - 1) for r in rows]))
            for name in ("untuned_s", "tuned_s", "at_pace_s")
        }
        judged = JudgedRound(number, len(rows), len(runs) // len(rows), pace, *figures.values())
        return Round(judged, rows)

    def _row(
        self,
        name: str,
        candidate: Candidate,
        runs: Sequence[PlayedRun],
        pace: float,
        pace_before: float,
    ) -> Row:
        measured = measure_all([run.timeline for run in runs], self.scenario.plan.reading_rate)
        untuned_s = self.forecaster(candidate.schedule).metrics["ttft_s"].mean
        losses = [run.loss for run in runs if run.loss is not None]
        return Row(
            name,
            candidate,
            untuned_s,
            candidate.ttft_s,
            candidate.ttft_s * pace / pace_before,
            measured.summaries()["ttft_s"].mean,
            float(np.mean(losses)) if losses else None,
        )


@dataclass
class _Player:
    """Plays a question, then takes the machine's pace.

    Attributes:
        warm_up: played before the first one, which is another: no cache may know it.
    """

    bench: Bench
    pipeline: Pipeline
    reference: Reference | None
    warm_up: Question
    _count: int = 0

    def play(self, candidate: Candidate, question: Question) -> PlayedRun:
        """Its place in a round is not known here."""
        job = Job(self.pipeline, candidate.schedule, question)
        if not self._count:
            self.bench.runtime.run([replace(job, question=self.warm_up)])
            self._pace()
        outcome = self.bench.runtime.run([job])[0]
        check_outcome(outcome)
        pace = self._pace()
        loss = None
        if self.bench.can_score(self.pipeline):
            scorer = self.bench.scorers_of(self.pipeline)[self.pipeline.answer]
            layout = candidate.schedule.layout
            loss = measure_quality(self.pipeline, scorer, outcome, layout).loss
        lengths = fixed_tokens(outcome)
        return PlayedRun(0, 0, "", 0, candidate.schedule, outcome.timeline, lengths, pace, loss)

    def _pace(self) -> float:
        self._count += 1
        try:
            return self.reference.pace(self._count) if self.reference else 1.0
        except RuntimeError as error:
            raise EngineError(f"the call that tells the machine's pace failed: {error}") from None
