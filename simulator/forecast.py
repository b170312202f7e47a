"""Forecasts: a schedule's metrics and quality from profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from profiles.latency.profile import EngineProfile
from profiles.quality.forecast import QualityForecast
from simulator.analytic.lower_bound import Stage
from simulator.analytic.sketch import Sketch, sketch_of
from simulator.capacity import LEAST, Capacity, CapacitySearch
from simulator.engine import EngineSetup
from simulator.extrapolation import outside_range, profiled
from simulator.figures import NOTHING_ASKED, AskedFigures
from simulator.intervals import stated_error, with_profile_error
from simulator.run import EngineUse, Run, mean_use, run_workload
from simulator.setups import setup_of
from simulator.workloads import workload_of
from staircase.bounds import LAST_PS
from staircase.errors import ScenarioError
from staircase.metrics.measured import Measured, summarize_replicates
from staircase.metrics.request_metrics import Summary, summarize
from staircase.metrics.run_metrics import Slo
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.spec.scenario import Scenario
from staircase.spec.simulated_spec import SimulatedSpec
from staircase.timeline import Timeline
from staircase.workload import Workload


@dataclass(frozen=True)
class Forecast:
    """What is to be expected of a schedule.

    Attributes:
        metrics: by the names of ``staircase.metrics.request_metrics``.
        quality: None where there is no quality profile, as for simulated engines.
        extrapolated: what lies outside the measured range of the latency profile, in words.
        timelines: of the first replicate; empty if nobody asked for them.
        runs: one for each replicate.
        use: by engine, the mean over replicates.
    """

    metrics: Mapping[str, Summary]
    quality: QualityForecast | None
    extrapolated: tuple[str, ...]
    timelines: Sequence[Timeline]
    runs: Sequence[Measured]
    use: Mapping[str, EngineUse] = field(default_factory=dict)

    def of_other_requests(self) -> Forecast:
        """With intervals of means over as many other requests, as those that are measured."""
        metrics = {name: one.of_other_requests() for name, one in self.metrics.items()}
        quality = self.quality and self.quality.of_other_requests()
        return replace(self, metrics=metrics, quality=quality)

    def widened(self, error: float, reading_rate: float) -> Forecast:
        """With intervals that hold the profiles' stated ``error``."""
        if not error or not self.timelines:
            return self
        metrics = with_profile_error(self.metrics, self.timelines, reading_rate, error)
        return replace(self, metrics=metrics)


def forecast_simulated(
    scenario: Scenario,
    schedule: Schedule,
    folder: Path = Path(),
    *,
    replicates: int = 1,
    needs_timelines: bool = False,
    on_replicate: Callable[[], None] = lambda: None,
) -> Forecast:
    """A schedule on a scenario's simulated engines, under its workload.

    One replicate is the scenario as it stands; more are 1, 2, … with lengths, arrivals and noise
    of their own, and an interval is then where the means of 90 % of the replicates lie.

    Args:
        folder: from which the paths in the scenario are counted.

    Raises:
        ScenarioError: an engine is not simulated, or its model does not fit its hardware.
        WorkloadError: a file that the workload names is wrong.
    """
    runs: list[Run] = []
    for forecaster in replicated(scenario, folder, replicates):
        runs.append(forecaster.play(schedule, needs_timelines and not runs))
        on_replicate()
    known = profiled(scenario, folder)
    found = forecast_of(runs, tuple(outside_range(known, runs[0].timelines)))
    error = stated_error(profile for _, profile in known.values())
    return found.widened(error, scenario.plan.reading_rate)


def replicated(scenario: Scenario, folder: Path, replicates: int) -> Iterator[SimulatedForecaster]:
    """The scenario as it stands, or several replicates; raises as ``forecast_simulated`` does."""
    for replicate in range(1, replicates + 1) if replicates > 1 else [0]:
        yield SimulatedForecaster.open(scenario, folder, replicate)


def forecast_of(
    runs: Sequence[Run],
    extrapolated: tuple[str, ...],
    quality: QualityForecast | None = None,
    wanted: AskedFigures = NOTHING_ASKED,
) -> Forecast:
    """What ``runs``, one or more replicates, come to."""
    measured = [run.measured for run in runs]
    use = mean_use([run.use for run in runs])
    metrics = summarize_replicates(measured)
    metrics["unread"] = summarize(np.concatenate([run.unread for run in runs]))
    if use:
        answered = sum(run.answered for run in measured) / len(measured)
        metrics["device_s"] = Summary.of(sum(one.busy_s for one in use.values()) / answered)
    metrics |= wanted.figures(runs)
    return Forecast(metrics, quality, extrapolated, runs[0].timelines, measured, use)


@dataclass(frozen=True)
class SimulatedForecaster:
    """A scenario's simulated engines and their workload, ready for any schedule.

    Attributes:
        profiled: the engines whose cost is a profile's, which has a range.
        rate_per_s: at which requests arrive; None if each arrives when another is over, or by a
            trace.
    """

    pipeline: Pipeline
    engines: Mapping[str, EngineSetup]
    workload: Workload
    reading_rate: float
    profiled: Mapping[str, tuple[SimulatedSpec, EngineProfile]]
    wanted: AskedFigures = NOTHING_ASKED
    rate_per_s: float | None = None

    @staticmethod
    def open(
        scenario: Scenario, folder: Path = Path(), replicate: int = 0, lengths: int | None = None
    ) -> SimulatedForecaster:
        """Raises as ``forecast_simulated`` does.

        Args:
            replicate: whose noise the engines have.
            lengths: the replicate whose lengths and arrivals are played, if it is another one.
        """
        for name in {**scenario.real, **scenario.remote}:
            raise ScenarioError(
                f"engines.{name}: is real, but only simulated engines can be played here: give "
                "each the kind simulated or endpoint, and a workload"
            )
        assert scenario.workload is not None
        pipeline = scenario.pipeline.build()
        return SimulatedForecaster(
            pipeline,
            {
                name: setup_of(spec, name, replicate, folder)
                for name, spec in scenario.simulated.items()
            },
            workload_of(
                scenario.workload, pipeline, folder, replicate if lengths is None else lengths
            ),
            scenario.plan.reading_rate,
            profiled(scenario, folder),
            AskedFigures.of(scenario.plan),
            scenario.workload.rate_per_s,
        )

    @property
    def least_rate_per_s(self) -> float:
        """The lowest at which all requests arrive in the first half of the longest run."""
        assert self.rate_per_s is not None
        last_ps = max(self.workload.arrivals_ps or (), default=0)
        return max(LEAST, 2 * self.rate_per_s * last_ps / LAST_PS)

    @property
    def knows_quality(self) -> bool:
        return False

    @property
    def stage(self) -> Stage:
        return Stage(self.pipeline, self.engines, self.workload)

    def sketch(self) -> Sketch | None:
        """For many schedules at once, roughly; None where there is no closed form."""
        return sketch_of(self.pipeline, self.engines, self.workload, self.reading_rate)

    def play(self, schedule: Schedule, needs_timelines: bool = False) -> Run:
        return run_workload(
            self.pipeline,
            schedule,
            self.engines,
            self.workload,
            reading_rate=self.reading_rate,
            # What lies beyond a profile's range is seen in timelines.
            needs_timelines=needs_timelines or bool(self.profiled),
        )

    def __call__(self, schedule: Schedule) -> Forecast:
        run = self.play(schedule)
        found = forecast_of(
            [run], tuple(outside_range(self.profiled, run.timelines)), None, self.wanted
        )
        error = stated_error(profile for _, profile in self.profiled.values())
        found = found.widened(error, self.reading_rate)
        if self.wanted.capacity_share is None or self.rate_per_s is None:
            return found
        assert self.wanted.slo is not None
        capacity = capacity_of([self], schedule, self.wanted.slo, self.wanted.capacity_share)
        figure = Summary.of(capacity.rate_per_s or 0.0)
        return replace(found, metrics={**found.metrics, "capacity_per_s": figure})

    def at_rate(self, rate_per_s: float) -> SimulatedForecaster:
        """The same requests, arriving closer together or further apart."""
        assert self.rate_per_s is not None
        factor = self.rate_per_s / rate_per_s
        arrivals = [round(ps * factor) for ps in self.workload.arrivals_ps or ()]
        workload = replace(self.workload, arrivals_ps=arrivals)
        return replace(self, workload=workload, rate_per_s=rate_per_s)


def capacity_of(
    forecasters: Sequence[SimulatedForecaster],
    schedule: Schedule,
    slo: Slo,
    share: float,
    on_trial: Callable[[], None] = lambda: None,
) -> Capacity:
    """The highest rate at which ``share`` of the requests of all ``forecasters`` keep ``slo``.

    Raises:
        ScenarioError: the workload has no rate of its own.
    """
    rate_per_s = forecasters[0].rate_per_s
    if rate_per_s is None:
        raise ScenarioError("workload.rate_per_s: needed to search the rate; give where to begin")

    def play(rate: float) -> list[Measured]:
        return [forecaster.at_rate(rate).play(schedule).measured for forecaster in forecasters]

    least = max(forecaster.least_rate_per_s for forecaster in forecasters)
    return CapacitySearch(play, slo, share, least, on_trial).find(rate_per_s)
