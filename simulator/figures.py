"""Figures of a run that need prices or limits: cost, reserved time, goodput.

cost      of a request: its tokens by engine at their prices, and the replicas' hours
reserved  replica seconds of the run over its answered requests, busy or not; a run's own busy
          seconds say little, since batching engines are busy whenever anybody is there
goodput   requests a second that keep every limit, as in ``staircase.metrics.run_metrics``
capacity  the highest rate at which enough requests keep every limit (``simulator.capacity``); ten
          runs or so, so only where it is asked for
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from simulator.run import Run
from staircase.metrics.request_metrics import Summary
from staircase.metrics.run_metrics import Slo, measure_runs
from staircase.spec.plan_spec import PlanSpec, PriceSpec

PER_PRICE = 1e6
S_PER_HOUR = 3600


@dataclass(frozen=True)
class AskedFigures:
    """What is asked of runs beside their metrics.

    Attributes:
        prices: by engine.
        slo: for goodput and capacity; None: not asked.
        capacity_share: of the requests, so many keep ``slo`` at capacity; None: not asked.
    """

    prices: Mapping[str, PriceSpec] = field(default_factory=dict)
    slo: Slo | None = None
    capacity_share: float | None = None

    @staticmethod
    def of(spec: PlanSpec) -> AskedFigures:
        if not spec.goodput:
            return AskedFigures(spec.prices)
        slo = Slo(**{f"{name}_s": limit for name, limit in spec.goodput.items()})
        words = (*spec.objectives, *spec.limits)
        is_asked = any(word.partition(".")[0] == "capacity" for word in words)
        return AskedFigures(spec.prices, slo, spec.capacity_share if is_asked else None)

    def figures(self, runs: Sequence[Run]) -> dict[str, Summary]:
        """By their names in a forecast, means over ``runs``; only what is known and wanted."""
        found = {}
        if self.prices:
            found["cost"] = Summary.of(float(np.mean([self._cost(run) for run in runs])))
        if all(run.use for run in runs):
            found["reserved_s"] = Summary.of(float(np.mean([_reserved_s(run) for run in runs])))
        if self.slo:
            measured = measure_runs([run.measured for run in runs], self.slo)
            found["goodput_per_s"] = Summary.of(measured.goodput_per_s)
        return found

    def _cost(self, run: Run) -> float:
        paid = 0.0
        for name, price in self.prices.items():
            if name in run.tokens:
                tokens = run.tokens[name]
                cached = price.input if price.cached is None else price.cached
                paid += tokens.prefilled * price.input + tokens.cached * cached
                paid += tokens.written * price.output
        hours = sum(
            self.prices[name].hour * one.replicas * run.measured.duration_s / S_PER_HOUR
            for name, one in run.use.items()
            if name in self.prices
        )
        return (paid / PER_PRICE + hours) / run.measured.answered


def _reserved_s(run: Run) -> float:
    replicas = sum(one.replicas for one in run.use.values())
    return replicas * run.measured.duration_s / run.measured.answered


NOTHING_ASKED = AskedFigures()
