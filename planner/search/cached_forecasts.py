"""Forecasts of a search: made once for each schedule, by whoever makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from planner.results.plans import Candidate
from simulator.analytic.sketch import Sketch
from simulator.forecaster import ScheduleForecaster
from staircase.metrics.request_metrics import Floats
from staircase.schedule import Schedule


class TrialStore(Protocol):
    """Forecasts that were made before."""

    def recall(self, schedule: Schedule) -> Candidate | None: ...

    def note(self, candidate: Candidate) -> None: ...


class NullStore:
    """The store of a search that nobody will go on with."""

    def recall(self, schedule: Schedule) -> Candidate | None:
        return None

    def note(self, candidate: Candidate) -> None:
        pass


NO_STORE = NullStore()


class Sketcher(Protocol):
    """Tells roughly what many schedules come to at once (``simulator.analytic.sketch``)."""

    def of(self, schedules: Sequence[Schedule]) -> dict[str, Floats]: ...


class Backend(Protocol):
    """Whoever makes the forecasts of a generation: this process, or several."""

    def forecasting_by(self, forecaster: ScheduleForecaster) -> Backend:
        """The same, with another forecaster."""
        ...

    def sharing(self, sketch: Sketch) -> Sketcher:
        """Draws ``sketch`` for all."""
        ...

    def forecast(self, schedules: Sequence[Schedule]) -> Iterator[Candidate]:
        """Each in turn, as soon as it is ready."""
        ...


@dataclass(frozen=True)
class LocalBackend:
    """One after the other, in this process."""

    forecaster: ScheduleForecaster

    def forecasting_by(self, forecaster: ScheduleForecaster) -> LocalBackend:
        return LocalBackend(forecaster)

    def sharing(self, sketch: Sketch) -> Sketcher:
        return sketch

    def forecast(self, schedules: Sequence[Schedule]) -> Iterator[Candidate]:
        return (Candidate.of(schedule, self.forecaster(schedule)) for schedule in schedules)


@dataclass
class CachedForecasts:
    """Forecasts every schedule once."""

    backend: Backend
    store: TrialStore = NO_STORE
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
        known = {name: self.store.recall(one) for name, one in new.items()}
        made = self.backend.forecast([one for name, one in new.items() if not known[name]])
        for name in new:
            candidate = known[name] or self._noted(next(made))
            self._numbers[name] = len(self.candidates)
            self.candidates.append(candidate)
            self.on_trial()
        return [self.candidates[self._numbers[one.key]] for one in schedules]

    def _noted(self, candidate: Candidate) -> Candidate:
        self.store.note(candidate)
        return candidate
