"""Forecasts from profiles that were measured: of latency, and of quality if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from profiles.guessed_passes import GuessedTexts
from profiles.latency.profile import LatencyProfile
from profiles.lengths import LengthSample
from profiles.quality.acceptance import Agreements, with_acceptance
from profiles.quality.forecast import QualityForecaster
from profiles.quality.profile import QualityProfile, QualitySample
from simulator.analytic.lower_bound import Stage
from simulator.analytic.sketch import Sketch, sketch_of
from simulator.des.batching import BatchingSetup
from simulator.des.serial import SerialSetup
from simulator.extrapolation import most_at_once
from simulator.figures import NOTHING_ASKED, AskedFigures
from simulator.forecast import Forecast, SimulatedForecaster, forecast_of
from simulator.intervals import stated_error
from simulator.profiled import served_together, setup_of_profile
from simulator.run import Run, run_workload
from staircase.errors import ScheduleError
from staircase.metrics.request_metrics import READING_RATE, Z90
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.spec.engine_spec import EngineSpec, OpenAISpec
from staircase.timeline import Timeline, to_ps
from staircase.workload import RequestShape, Workload


@dataclass(frozen=True)
class ProfileForecaster:
    """Forecasts schedules of one pipeline on measured engines.

    Attributes:
        quality: None where only latency is to be forecast.
        engines: what they are, by name.
        workload: the lengths of the requests that are played.
        guessed: by agent, of those whose texts are guessed, in what passes they were written.
    """

    pipeline: Pipeline
    latency: LatencyProfile
    quality: QualityProfile | None
    engines: Mapping[str, EngineSpec | OpenAISpec]
    workload: Workload
    reading_rate: float = READING_RATE
    wanted: AskedFigures = NOTHING_ASKED
    guessed: Mapping[str, GuessedTexts] = field(default_factory=dict)

    @property
    def knows_quality(self) -> bool:
        return self.quality is not None

    def __call__(self, schedule: Schedule) -> Forecast:
        """Raises ScheduleError if its quality is not known where all others' is."""
        if self.quality and (why := self._why_unscored(schedule)):
            raise ScheduleError(f"{why}, and what is unread stands in for quality")
        run = self.play(schedule, self.workload)
        lines, forecast = run.timelines, self._quality
        quality = forecast(lines, schedule.layout) if forecast else None
        found = forecast_of([run], tuple(self._extrapolated(lines)), quality, self.wanted)
        return found.of_other_requests().widened(self._stated_error, self.reading_rate)

    def _why_unscored(self, schedule: Schedule) -> str | None:
        """What no profile of quality knows of it, and where to name it."""
        if schedule.window:
            return (
                "window: the quality profile does not know what it costs to drop what was read; "
                "name the window in plan.window"
            )
        if self.pipeline.inputs and schedule.revision == "keep":
            return (
                "revision 'keep': a quality profile does not know what is worth what was written "
                "on words that were replaced; name it in plan.revision"
            )
        return None

    def sketch(self) -> Sketch | None:
        """For many schedules at once, roughly; None where there is no closed form."""
        return sketch_of(self._played, self._setups, self.workload, self.reading_rate)

    @property
    def stage(self) -> Stage:
        return Stage(self._played, self._setups, self._checkable(self.workload))

    @cached_property
    def _stated_error(self) -> float:
        return stated_error(self.latency[name] for name in self.pipeline.engines)

    @cached_property
    def _quality(self) -> QualityForecaster | None:
        return QualityForecaster(self.quality) if self.quality else None

    def play(self, schedule: Schedule, workload: Workload) -> Run:
        """Other requests on the same engines, with their timelines."""
        return run_workload(
            self._played,
            schedule,
            self._setups,
            self._checkable(workload),
            reading_rate=self.reading_rate,
            needs_timelines=True,
        )

    def arriving(self, rate_per_s: float, seed: int = 0) -> SimulatedForecaster:
        """The same requests on the same engines, each at a random time, so many a second."""
        gaps = np.random.default_rng(seed).exponential(1 / rate_per_s, len(self.workload.requests))
        arrivals = [to_ps(second) for second in np.cumsum(gaps)]
        return SimulatedForecaster(
            self._played,
            self._setups,
            replace(self._checkable(self.workload), arrivals_ps=arrivals),
            self.reading_rate,
            profiled={},
            rate_per_s=rate_per_s,
        )

    def _checkable(self, workload: Workload) -> Workload:
        """With what stands of texts that are checked, where a profile of quality knows it."""
        return with_acceptance(workload, self._agreements) if self._agreements else workload

    @cached_property
    def _agreements(self) -> Agreements | None:
        return Agreements(self.quality) if self.quality else None

    @cached_property
    def _played(self) -> Pipeline:
        """With one engine for those that are one model of one server, as it computes for all."""
        together = served_together(self.engines)
        agents = (
            replace(agent, engine=together[agent.engine]) if agent.has_engine else agent
            for agent in self.pipeline
        )
        return Pipeline(tuple(agents), self.pipeline.answer)

    @cached_property
    def _setups(self) -> dict[str, SerialSetup | BatchingSetup]:
        setups = {
            name: setup_of_profile(
                self.latency[name], self.engines[name], name, self._guessed_by(name)
            )
            for name in self.pipeline.engines
        }
        together = served_together({name: self.engines[name] for name in setups})
        return {name: _of_all(setups, together, name) for name in setups}

    def _guessed_by(self, engine: str) -> dict[str, GuessedTexts]:
        texts = self.guessed
        own = (agent.name for agent in self.pipeline if agent.engine == engine)
        return {agent: texts[agent] for agent in own if agent in texts}

    def _served_by(self, first: str) -> list[str]:
        """Engines of the scenario that are played as ``first``."""
        together = served_together(self.engines)
        return [name for name in self.pipeline.engines if together[name] == first]

    def _extrapolated(self, timelines: Iterable[Timeline]) -> Iterator[str]:
        spans = [span for timeline in timelines for span in timeline.spans]
        for engine in self._played.engines:
            own = [span for span in spans if span.engine == engine]
            prefill = max((span.prefilled_tokens for span in own), default=0)
            context = max((span.prompt_tokens + span.made_tokens for span in own), default=0)
            batch = 1 if isinstance(self._setups[engine], SerialSetup) else most_at_once(own)
            for words in self.latency[engine].outside(prefill, context, batch):
                yield f"{', '.join(self._served_by(engine))}: {words}"


def _of_all(
    setups: Mapping[str, SerialSetup | BatchingSetup], together: Mapping[str, str], name: str
) -> SerialSetup | BatchingSetup:
    """The setup of ``name``, with the seats of all that are served together with it."""
    setup = setups[name]
    if not isinstance(setup, BatchingSetup):
        return setup
    others = [setups[other] for other, first in together.items() if first == together[name]]
    seats = sum(other.limits.max_num_seqs for other in others if isinstance(other, BatchingSetup))
    return replace(setup, limits=replace(setup.limits, max_num_seqs=seats))


def sampled_workload(
    samples: Sequence[QualitySample | LengthSample], requests: int, first: int = 0
) -> Workload:
    """The lengths of a profile's ``samples`` from ``first`` on, again if they are too few."""
    chosen = [samples[(first + number) % len(samples)] for number in range(requests)]
    return Workload(
        [
            RequestShape(
                one.fixed_tokens,
                one.output_tokens,
                thinking_tokens=one.thinking_tokens,
                items=one.items if isinstance(one, LengthSample) else {},
                updates=one.updates,
            )
            for one in chosen
        ]
    )


def resampled_workload(workload: Workload, seed: int) -> Workload:
    """As many of its requests, drawn with replacement."""
    drawn = np.random.default_rng(seed).integers(0, len(workload.requests), len(workload.requests))
    return replace(workload, requests=[workload.requests[number] for number in drawn.tolist()])


def perturbed_profile(latency: LatencyProfile, seed: int) -> LatencyProfile:
    """Every engine slower or faster by a lognormal factor, mostly within its stated error."""
    rng = np.random.default_rng(seed)
    engines = {}
    for name, engine in sorted(latency.engines.items()):
        deviation = max(engine.prefill.stated_error, engine.decode.stated_error) / Z90
        factor = np.exp(deviation * rng.standard_normal() - deviation**2 / 2)
        engines[name] = engine.scaled(float(factor))
    return replace(latency, engines=engines)
