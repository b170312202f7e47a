"""Capacity: the highest request rate at which enough requests keep their latency limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator.forecast import forecast_simulated
from staircase.errors import ScenarioError
from staircase.run_metrics import RunMetrics, Slo, measure_runs
from staircase.scenario import Scenario
from staircase.schedule import Schedule

# The search ends when the rates that do and do not meet the limits are so close.
TOLERANCE = 0.01
# The lowest and highest rates that are tried, requests a second.
LEAST, MOST = 1e-4, 1e5


@dataclass(frozen=True)
class Trial:
    """A rate, and how the requests fared at it."""

    rate_per_s: float
    run: RunMetrics


@dataclass(frozen=True)
class Capacity:
    """The highest rate found to meet the limits; None if even the lowest does not.

    Attributes:
        trials: every rate that was tried, rising.
        is_bound: whether a higher rate was seen to fail.
    """

    rate_per_s: float | None
    trials: Sequence[Trial]
    is_bound: bool


def find_capacity(
    scenario: Scenario,
    schedule: Schedule,
    slo: Slo,
    share: float,
    folder: Path = Path(),
    *,
    replicates: int = 1,
    on_trial: Callable[[], None] = lambda: None,
) -> Capacity:
    """Doubles the rate until fewer than ``share`` of the requests keep ``slo``, then halves in.

    Every rate plays the same requests, arriving closer together or further apart.

    Raises:
        ScenarioError: the workload has no rate of its own.
    """
    if scenario.workload is None or scenario.workload.rate_per_s is None:
        raise ScenarioError("workload.rate_per_s: needed to search the rate; give where to begin")
    search = _Search(scenario, schedule, slo, share, folder, replicates, on_trial, [])
    good, bad = search.bracket(scenario.workload.rate_per_s)
    while good and bad and bad / good > 1 + TOLERANCE:
        middle = (good * bad) ** 0.5
        good, bad = (middle, bad) if search.meets(middle) else (good, middle)
    trials = sorted(search.trials, key=lambda trial: trial.rate_per_s)
    return Capacity(good, trials, bad is not None)


@dataclass(frozen=True)
class _Search:
    scenario: Scenario
    schedule: Schedule
    slo: Slo
    share: float
    folder: Path
    replicates: int
    on_trial: Callable[[], None]
    trials: list[Trial]

    def bracket(self, rate: float) -> tuple[float | None, float | None]:
        """A rate that meets the limits and one that does not, as far as there are such."""
        if self.meets(rate):
            while rate < MOST:
                if not self.meets(2 * rate):
                    return rate, 2 * rate
                rate *= 2
            return rate, None
        while rate > LEAST:
            if self.meets(rate / 2):
                return rate / 2, rate
            rate /= 2
        return None, rate

    def meets(self, rate: float) -> bool:
        assert self.scenario.workload is not None
        workload = self.scenario.workload.model_copy(update={"rate_per_s": rate})
        forecast = forecast_simulated(
            self.scenario.model_copy(update={"workload": workload}),
            self.schedule,
            self.folder,
            replicates=self.replicates,
        )
        run = measure_runs(forecast.runs, self.slo)
        self.trials.append(Trial(rate, run))
        self.on_trial()
        return run.good_share >= self.share
