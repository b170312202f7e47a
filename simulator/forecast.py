"""Forecasts: a schedule's metrics and quality from profiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiles.latency import LatencyProfile
from profiles.quality import QualityForecast, QualityProfile, forecast_quality
from simulator.serial import SerialSetup
from simulator.setups import setup_of, workload_of
from simulator.simulate import simulate
from staircase.errors import ScenarioError
from staircase.metrics import READING_RATE, Summary, summarize_all
from staircase.pipeline import Pipeline
from staircase.scenario import Scenario
from staircase.schedule import Schedule
from staircase.timeline import Timeline
from staircase.workload import RequestShape, Workload


@dataclass(frozen=True)
class Forecast:
    """What is to be expected of a schedule.

    Attributes:
        metrics: by the names of ``staircase.metrics``.
        quality: None where there is no quality profile, as for simulated engines.
        extrapolated: what lies outside the measured range of the latency profile, in words.
    """

    metrics: Mapping[str, Summary]
    quality: QualityForecast | None
    extrapolated: tuple[str, ...]
    timelines: Sequence[Timeline]


def forecast_simulated(scenario: Scenario, schedule: Schedule, folder: Path = Path()) -> Forecast:
    """A schedule on a scenario's simulated engines, under its workload.

    Args:
        folder: from which the paths in the scenario are counted.

    Raises:
        ScenarioError: an engine is not simulated.
        WorkloadError: a file that the workload names is wrong.
    """
    pipeline = scenario.pipeline.build()
    for name in scenario.real:
        raise ScenarioError(f"engine {name!r} is real, others are simulated: make it one or other")
    assert scenario.workload is not None
    setups = {name: setup_of(spec) for name, spec in scenario.simulated.items()}
    workload = workload_of(scenario.workload, pipeline, folder)
    timelines = simulate(pipeline, schedule, setups, workload)
    return Forecast(summarize_all(timelines, scenario.plan.reading_rate), None, (), timelines)


@dataclass(frozen=True)
class Forecaster:
    """Forecasts schedules of one pipeline.

    Attributes:
        devices: by engine name; engines on the same device share it.
        requests: how many requests of the quality profile's sample are played.
    """

    pipeline: Pipeline
    latency: LatencyProfile
    quality: QualityProfile
    devices: Mapping[str, str]
    requests: int
    reading_rate: float = READING_RATE

    def __call__(self, schedule: Schedule) -> Forecast:
        timelines = simulate(self.pipeline, schedule, self._engines(), self._workload())
        return Forecast(
            summarize_all(timelines, self.reading_rate),
            forecast_quality(self.quality, timelines, schedule.layout),
            tuple(self._extrapolated(timelines)),
            timelines,
        )

    def _engines(self) -> dict[str, SerialSetup]:
        return {
            name: SerialSetup(self.latency[name], self.devices[name])
            for name in self.pipeline.engines
        }

    def _workload(self) -> Workload:
        samples = self.quality.samples
        chosen = [samples[number % len(samples)] for number in range(self.requests)]
        return Workload([RequestShape(s.fixed_tokens, s.output_tokens) for s in chosen])

    def _extrapolated(self, timelines: Iterable[Timeline]) -> Iterator[str]:
        spans = [span for timeline in timelines for span in timeline.spans]
        for engine in self.pipeline.engines:
            own = [span for span in spans if span.engine == engine]
            prefill = max((span.prefilled_tokens for span in own), default=0)
            context = max((span.prompt_tokens + span.output_tokens for span in own), default=0)
            for words in self.latency[engine].outside(prefill, context):
                yield f"{engine}: {words}"
