"""Forecasts of a search: made once for each schedule, by whoever makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from planner.results.plans import Candidate
from simulator.analytic.sketch import Sketch
from simulator.forecast import Forecast
from staircase.metrics.request_metrics import Floats
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule


class Judge(Protocol):
    """Forecasts schedules of one pipeline."""

    @property
    def pipeline(self) -> Pipeline: ...

    @property
    def knows_quality(self) -> bool: ...

    def __call__(self, schedule: Schedule) -> Forecast: ...


class Memory(Protocol):
    """Forecasts that were made before."""

    def recall(self, schedule: Schedule) -> Candidate | None: ...

    def note(self, candidate: Candidate) -> None: ...


class Forgetful:
    """The memory of a search that nobody will go on with."""

    def recall(self, schedule: Schedule) -> Candidate | None:
        return None

    def note(self, candidate: Candidate) -> None:
        pass


NOTHING_KNOWN = Forgetful()


class Sketcher(Protocol):
    """Tells roughly what many schedules come to at once (``simulator.analytic.sketch``)."""

    def of(self, schedules: Sequence[Schedule]) -> dict[str, Floats]: ...


class Crew(Protocol):
    """Whoever makes the forecasts of a generation: this process, or several."""

    def judging_by(self, judge: Judge) -> Crew:
        """The same, with another judge."""
        ...

    def sharing(self, sketch: Sketch) -> Sketcher:
        """Draws ``sketch`` for all."""
        ...

    def forecast(self, schedules: Sequence[Schedule]) -> Iterator[Candidate]:
        """Each in turn, as soon as it is ready."""
        ...


@dataclass(frozen=True)
class Alone:
    """One after the other, in this process."""

    judge: Judge

    def judging_by(self, judge: Judge) -> Alone:
        return Alone(judge)

    def sharing(self, sketch: Sketch) -> Sketcher:
        return sketch

    def forecast(self, schedules: Sequence[Schedule]) -> Iterator[Candidate]:
        return (Candidate.of(schedule, self.judge(schedule)) for schedule in schedules)


@dataclass
class Book:
    """Forecasts every schedule once."""

    crew: Crew
    memory: Memory = NOTHING_KNOWN
    on_trial: Callable[[], None] = lambda: None
    candidates: list[Candidate] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def __contains__(self, schedule: Schedule) -> bool:
        return schedule.key in self._numbers

    def candidate(self, schedule: Schedule) -> Candidate:
        return self.forecast_all([schedule])[0]

    def forecast_all(self, schedules: Sequence[Schedule]) -> list[Candidate]:
        """The candidates of ``schedules``; those that are new are forecast together."""
        new = {one.key: one for one in schedules if one not in self}
        known = {name: self.memory.recall(one) for name, one in new.items()}
        made = self.crew.forecast([one for name, one in new.items() if not known[name]])
        for name in new:
            candidate = known[name] or self._noted(next(made))
            self._numbers[name] = len(self.candidates)
            self.candidates.append(candidate)
            self.on_trial()
        return [self.candidates[self._numbers[one.key]] for one in schedules]

    def _noted(self, candidate: Candidate) -> Candidate:
        self.memory.note(candidate)
        return candidate
