"""Forecasts: a schedule's metrics and quality from profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from profiles.latency import LatencyProfile
from profiles.quality import QualityForecast, QualityProfile, forecast_quality
from simulator.batching import BatchingSetup
from simulator.profiled import setup_of_profile
from simulator.reach import beyond, most_at_once, profiled
from simulator.run import EngineUse, Run, mean_use, run_workload
from simulator.serial import SerialSetup
from simulator.setups import setup_of, workload_of
from simulator.simulate import simulate
from staircase.engine_spec import EngineSpec, OpenAISpec
from staircase.errors import ScenarioError
from staircase.measured import Measured, measure_all, summarize_replicates
from staircase.metrics import READING_RATE, Summary
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
    pipeline = scenario.pipeline.build()
    for name in scenario.real:
        raise ScenarioError(f"engine {name!r} is real, others are simulated: make it one or other")
    assert scenario.workload is not None
    runs: list[Run] = []
    measured_in = profiled(scenario, folder)
    for replicate in range(1, replicates + 1) if replicates > 1 else [0]:
        engines = {
            name: setup_of(spec, name, replicate, folder)
            for name, spec in scenario.simulated.items()
        }
        run = run_workload(
            pipeline,
            schedule,
            engines,
            workload_of(scenario.workload, pipeline, folder, replicate),
            reading_rate=scenario.plan.reading_rate,
            needs_timelines=(needs_timelines or bool(measured_in)) and not runs,
        )
        runs.append(run)
        on_replicate()
    measured = [run.measured for run in runs]
    metrics, use = summarize_replicates(measured), mean_use([run.use for run in runs])
    extrapolated = tuple(beyond(measured_in, runs[0].timelines))
    return Forecast(metrics, None, extrapolated, runs[0].timelines, measured, use)


@dataclass(frozen=True)
class Forecaster:
    """Forecasts schedules of one pipeline on measured engines.

    Attributes:
        quality: None where only latency is to be forecast.
        engines: what they are, by name.
        workload: the lengths of the requests that are played.
    """

    pipeline: Pipeline
    latency: LatencyProfile
    quality: QualityProfile | None
    engines: Mapping[str, EngineSpec | OpenAISpec]
    workload: Workload
    reading_rate: float = READING_RATE

    def __call__(self, schedule: Schedule) -> Forecast:
        timelines = simulate(self.pipeline, schedule, self._setups, self.workload)
        measured = measure_all(timelines, self.reading_rate)
        quality = self.quality
        return Forecast(
            measured.summaries(),
            forecast_quality(quality, timelines, schedule.layout) if quality else None,
            tuple(self._extrapolated(timelines)),
            timelines,
            [measured],
        )

    @cached_property
    def _setups(self) -> dict[str, SerialSetup | BatchingSetup]:
        return {
            name: setup_of_profile(self.latency[name], self.engines[name], name)
            for name in self.pipeline.engines
        }

    def _extrapolated(self, timelines: Iterable[Timeline]) -> Iterator[str]:
        spans = [span for timeline in timelines for span in timeline.spans]
        for engine in self.pipeline.engines:
            own = [span for span in spans if span.engine == engine]
            prefill = max((span.prefilled_tokens for span in own), default=0)
            context = max((span.prompt_tokens + span.output_tokens for span in own), default=0)
            batch = 1 if isinstance(self._setups[engine], SerialSetup) else most_at_once(own)
            for words in self.latency[engine].outside(prefill, context, batch):
                yield f"{engine}: {words}"


def sampled_workload(quality: QualityProfile, requests: int) -> Workload:
    """The lengths of the quality profile's sample, from its beginning, again if it is too small."""
    samples = quality.samples
    chosen = [samples[number % len(samples)] for number in range(requests)]
    return Workload([RequestShape(s.fixed_tokens, s.output_tokens) for s in chosen])
