"""What a search asks of a simulator: forecasts of one pipeline's schedules."""

from __future__ import annotations

from typing import Protocol

from simulator.analytic.lower_bound import Stage
from simulator.analytic.sketch import Sketch
from simulator.forecast import Forecast
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule


class ScheduleForecaster(Protocol):
    """Forecasts schedules of one pipeline."""

    @property
    def pipeline(self) -> Pipeline: ...

    @property
    def knows_quality(self) -> bool: ...

    def __call__(self, schedule: Schedule) -> Forecast: ...


class Forecaster(ScheduleForecaster, Protocol):
    """The same, with what a search needs beside."""

    @property
    def stage(self) -> Stage:
        """What it plays schedules on."""
        ...

    def sketch(self) -> Sketch | None:
        """For many schedules at once, roughly; None where there is no closed form."""
        ...
