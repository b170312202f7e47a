"""The closed loop: plan, run the best points, correct the profile where they differ, plan again.

A round's runs are fresh questions, so its forecasts are judged on runs that no correction has
seen; then the corrections are fitted again on the runs of all rounds so far. A forecast is of
seconds, and a machine's pace changes between two rounds: the error that decides is that of the
forecast for the pace of the runs, which is measured between them (``planner.tuning.pace``); the
other is told beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from executor.line_log import ItemLog
from executor.opened_engines import OpenedEngines, read_dataset
from planner.evaluation.validate import contenders, question_at
from planner.progress import Track, no_track
from planner.results.plans import Candidate, Plan
from planner.tuning.correcting import as_measured, corrected, fit_corrections
from planner.tuning.pace import Reference
from planner.tuning.run_log import PlayedRun
from planner.tuning.tuning_rounds import Tuned, TuningEffort, TuningRound, Verdict, evaluated_round
from planner.tuning.tuning_runs import Player
from profiles.latency.profile import LatencyProfile
from profiles.latency.tuning import Correction, Tuning
from simulator.profile_forecaster import ProfileForecaster
from staircase.spec.scenario import Scenario
from staircase.timeline import to_s

# Questions of the rounds start here, far from those of profiles and of validation.
FRESH = 2_000_000
# A round of fewer turns, as a budget may leave it, is not judged.
LEAST_TURNS = 3


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
    opened: OpenedEngines
    forecaster: ProfileForecaster
    base: str
    search: Callable[[LatencyProfile], Plan]
    reference: Reference | None
    log: ItemLog[PlayedRun]
    effort: TuningEffort = field(default_factory=TuningEffort)
    track: Track = no_track
    _rounds: list[TuningRound] = field(default_factory=list)
    _seen: list[PlayedRun] = field(default_factory=list)
    _fitted_on: tuple[int, ...] = ()

    def run(self) -> Tuned:
        """Until forecast and runs agree, or rounds or budget are used.

        Raises:
            PlanError: no schedule keeps the plan's limits.
            EngineError: a request or the reference failed.
        """
        corrections, pace = as_measured(self.forecaster.latency), 1.0
        for number in range(1, self.effort.rounds + 1):
            latency = self._corrected(corrections, pace) if number > 1 else self.forecaster.latency
            named = contenders(self.search(latency), self.effort.front)
            runs = self._play(number, named)
            if not runs:
                return self._tuned("budget used", corrections, pace)
            self._rounds.append(evaluated_round(number, named, runs, self.forecaster, pace))
            self._seen += runs
            last = self._rounds[-1].evaluated
            pace = last.pace
            if last.at_pace <= self.effort.tolerance:
                return self._tuned("agreed", corrections, pace)
            corrections = fit_corrections(self.forecaster, self._seen)
            self._fitted_on = (*self._fitted_on, number)
        return self._tuned("rounds used", corrections, pace)

    def _tuned(self, verdict: Verdict, corrections: Mapping[str, Correction], pace: float) -> Tuned:
        return Tuned(verdict, tuple(self._rounds), self._corrected(corrections, pace))

    def _corrected(self, corrections: Mapping[str, Correction], pace: float) -> LatencyProfile:
        now = {name: correction.at(pace) for name, correction in corrections.items()}
        rounds = tuple(one.evaluated for one in self._rounds)
        tuning = Tuning(self.base, dict(corrections), pace, self._fitted_on, rounds)
        return replace(corrected(self.forecaster.latency, now), tuning=tuning)

    def _play(self, number: int, named: Mapping[str, Candidate]) -> list[PlayedRun]:
        """The runs of a round's whole turns; none if the budget leaves too few."""
        requests = self.effort.requests
        questions = read_dataset(
            self.scenario, self.folder, requests, offset=FRESH + number * requests
        )
        step = self.track(f"round {number}: real runs", requests * len(named))
        player = Player(self.opened, self.forecaster.pipeline, self.reference, questions[-1])
        turns = list[list[PlayedRun]]()
        while len(turns) < requests:
            turn = len(turns)
            known = self._known(number, turn, named)
            if len(known) < len(named) and self._is_budget_used():
                break
            for place, (name, candidate) in enumerate(named.items()):
                if name not in known:
                    asked = question_at(turn, place, len(named), requests)
                    run = player.play(candidate.schedule, questions[asked])
                    run = replace(run, round=number, turn=turn, name=name, question=asked)
                    self.log.add(run.place, run)
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
            for run in self.log.items()
            if (run.round, run.turn) == (number, turn)
            and run.name in named
            and run.schedule == named[run.name].schedule
        }

    def _is_budget_used(self) -> bool:
        budget_s = self.effort.budget_s
        lines = [run.timeline for run in self.log.items()]
        spent_s = sum(to_s(line.completed_ps - line.arrival_ps) for line in lines)
        return budget_s is not None and spent_s >= budget_s
