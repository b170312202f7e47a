"""Forecasts over replicates of the noise: what a schedule comes to where things go badly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from simulator.analytic.lower_bound import Stage
from simulator.analytic.sketch import Sketch
from simulator.forecast import Forecast
from simulator.forecaster import Forecaster
from staircase.metrics.directions import GAINS
from staircase.metrics.request_metrics import Summary
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule


@dataclass(frozen=True)
class RobustForecaster:
    """Each figure is its ``quantile`` over ``forecasters``, towards the worse.

    What is measured of quality does not differ between forecasters: it is the first one's.
    """

    forecasters: Sequence[Forecaster]
    quantile: float

    @property
    def pipeline(self) -> Pipeline:
        return self.forecasters[0].pipeline

    @property
    def knows_quality(self) -> bool:
        return self.forecasters[0].knows_quality

    @property
    def stage(self) -> Stage:
        return self.forecasters[0].stage

    def sketch(self) -> Sketch | None:
        return self.forecasters[0].sketch()

    def __call__(self, schedule: Schedule) -> Forecast:
        every = [forecaster(schedule) for forecaster in self.forecasters]
        found = [one.metrics for one in every]
        metrics = {name: self._worse(name, found) for name in found[0]}
        said = dict.fromkeys(words for one in every for words in one.extrapolated)
        return replace(every[0], metrics=metrics, extrapolated=tuple(said))

    def _worse(self, name: str, found: Sequence[Mapping[str, Summary]]) -> Summary:
        """By statistic; ``low`` and ``high`` are the least and the greatest mean."""
        # The worse end of what is to be large is the lower one.
        share = 1 - self.quantile if name in GAINS else self.quantile
        values = {
            field.name: [getattr(one[name], field.name) for one in found]
            for field in fields(Summary)
        }
        worse = {key: float(np.quantile(column, share)) for key, column in values.items()}
        ends = {"low": min(values["mean"]), "high": max(values["mean"])}
        return Summary(**{**worse, **ends})
