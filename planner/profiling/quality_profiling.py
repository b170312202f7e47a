"""Measures the quality profile of a scenario's pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, takewhile
from pathlib import Path

import numpy as np

from executor.kept_runs import MEASURING_THREADS, play_kept
from executor.measure.measure_held import SHARES, HoldProbe
from executor.measure.measure_played import ScheduleProbe, probes_in
from executor.measure.measure_surfaces import APPENDED, READ_ON, ROUND_COUNTS, measure_sample
from executor.measure.quality_log import QualityLog
from executor.opened_engines import OpenedEngines, read_dataset
from executor.runtime import Job, Outcome
from executor.scoring.scores import AnswerScorer, answer_scorer
from planner.profiling.guess_counting import pass_counter
from planner.profiling.latency_profiling import measured_engines, requests_key
from planner.profiling.lookups import lookup_words
from planner.profiling.subjects import pipeline_subject
from planner.profiling.text_batches import requests_at_once
from planner.profiling.time_budget import TimeBudget
from planner.progress import Track, no_track
from profiles.quality.calibration import PlayedSchedule
from profiles.quality.forecast import QualityForecaster
from profiles.quality.held import HeldText
from profiles.quality.profile import QualityProfile, QualitySample
from profiles.store import content_hash, provenance_of_now
from staircase.errors import ScenarioError
from staircase.metrics.request_metrics import summarize
from staircase.pipeline import Pipeline
from staircase.schedule import Layout, Schedule
from staircase.spec.scenario import Scenario
from staircase.workload import Question

# After so many requests it is looked whether the loss is known well enough.
BATCH = 12
# Own positions are averaged over bins, at most so many of the longest of the first texts.
MOST_BINS = 16
# A source is left out in one of so many requests.
LEFT_OUT = 2
# How far a draft holds is measured on so many requests: each costs an answer a share that is read.
HELD_REQUESTS = 8
# The same where there is no time left for more.
FEWEST_HELD = 2
# Shares of the time budget by which requests are scored, and by which they are played again.
SCORED_BY, PLAYED_BY = 0.4, 0.85


def check_quality(opened: OpenedEngines, pipeline: Pipeline) -> None:
    """Measuring quality needs the probabilities of every model whose text is judged.

    Raises:
        ScenarioError: a server does not tell them.
    """
    why = opened.why_no_scores(pipeline)
    if why:
        raise ScenarioError(f"engines: quality cannot be measured: {why}")


def quality_key(scenario: Scenario) -> str:
    """Of what is measured: pipeline, models, requests, read levels and layouts."""
    measured = [
        list(scenario.profile.read_levels),
        list(scenario.plan.layouts),
        list(ROUND_COUNTS),
        *([list(READ_ON)] if _has_checks(scenario) else []),
    ]
    return content_hash([requests_key(scenario), *measured])


def _has_checks(scenario: Scenario) -> bool:
    """Whether schedules are searched whose texts are checked."""
    return scenario.plan.checked != [0]


def make_quality(
    scenario: Scenario,
    folder: Path,
    opened: OpenedEngines,
    log: QualityLog,
    track: Track = no_track,
) -> QualityProfile:
    """Plays sampled requests in full and scores them again with less read.

    Until the interval of the loss is as narrow as ``profile.quality_error`` says, or
    ``profile.requests`` are measured; then they are played under some schedules, which calibrates
    forecasts and ties the task's score to them, and it is seen how far drafts hold. With
    ``profile.quality_budget_s`` fewer are measured and played where time is short.

    Args:
        scenario: the engines of ``opened`` (``text_batches.in_batches``).

    Raises:
        ScenarioError: quality cannot be measured here.
        EngineError: a request failed.
    """
    pipeline = scenario.pipeline.build()
    check_quality(opened, pipeline)
    opened.load_scorers(pipeline)
    sampler = _Sampler(scenario, folder, opened, pipeline, log)
    budget = TimeBudget(scenario.profile.quality_budget_s)
    step = track("quality: with less read", scenario.profile.requests)
    for _ in budget.blocks(takewhile(lambda _: not sampler.is_done, count()), SCORED_BY):
        sampler.measure_more(step)
    profile = QualityProfile(
        tuple(scenario.profile.read_levels),
        sampler.bin_tokens,
        {agent.name: agent.reads for agent in pipeline.readers},
        tuple(sampler.samples),
        provenance_of_now(scenario.profile.model_dump(mode="json")),
        of=pipeline_subject(scenario),
        round_counts=ROUND_COUNTS if APPENDED in sampler.layouts else (),
        lookups=lookup_words(scenario),
    )
    played = _played(sampler, profile, budget, track)
    return replace(profile, played=played, held=_held(sampler, budget, track))


def _played(
    sampler: _Sampler, profile: QualityProfile, budget: TimeBudget, track: Track
) -> tuple[PlayedSchedule, ...]:
    pipeline, opened = sampler.pipeline, sampler.opened
    probe = ScheduleProbe(
        pipeline,
        opened.runtime,
        opened.scorers_of(pipeline),
        sampler.score,
        QualityForecaster(profile),
        sampler.layouts,
        requests_at_once(sampler.scenario),
    )
    probes = len(probes_in(sampler.layouts))
    step = track("quality: schedules played", len(profile.samples) * probes)
    in_time = partial(budget.blocks, until=PLAYED_BY)
    return probe.measure(sampler.questions, sampler.outcomes, sampler.log.played, step, in_time)


def _held(sampler: _Sampler, budget: TimeBudget, track: Track) -> tuple[HeldText, ...]:
    if why_not_held(sampler.scenario):
        return ()
    pipeline, opened = sampler.pipeline, sampler.opened
    scorer = opened.scorers_of(pipeline)[pipeline.answer]
    at_once = requests_at_once(sampler.scenario)
    probe = HoldProbe(pipeline, opened.runtime, scorer, sampler.layouts[0], at_once)
    outcomes = sampler.outcomes[: HELD_REQUESTS if budget.is_left(PLAYED_BY) else FEWEST_HELD]
    step = track("quality: how far drafts hold", len(outcomes) * len(SHARES))
    return probe.measure(sampler.questions, outcomes, sampler.log.held, step)


def why_not_held(scenario: Scenario) -> str | None:
    """Why it cannot be seen how far a draft holds, in words."""
    pipeline = scenario.pipeline.build()
    agent = pipeline[pipeline.answer]
    temperature = measured_engines(scenario)[agent.engine].temperature
    if not agent.reads:
        return f"{agent.name} reads nobody"
    if temperature:
        return f"{agent.name} draws its tokens (temperature {temperature:g})"
    return None


@dataclass
class _Sampler:
    """Requests that were played in full so far, and their samples."""

    scenario: Scenario
    folder: Path
    opened: OpenedEngines
    pipeline: Pipeline
    log: QualityLog
    questions: list[Question] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    samples: list[QualitySample] = field(default_factory=list)
    bin_tokens: int = 0

    def __post_init__(self) -> None:
        self._counter = pass_counter(self.scenario, self.opened)
        self.score: AnswerScorer = answer_scorer(self.scenario.requests, self.folder)

    @property
    def layouts(self) -> Sequence[Layout]:
        """Those that plans are searched in; what others cost nobody asks."""
        return self.scenario.plan.layouts

    @property
    def is_done(self) -> bool:
        spec = self.scenario.profile
        if len(self.samples) >= spec.requests:
            return True
        return bool(self.samples) and loss_error(self.samples) <= spec.quality_error

    def measure_more(self, on_sample: Callable[[], None]) -> None:
        first = len(self.samples)
        count = min(BATCH, self.scenario.profile.requests - first)
        questions = read_dataset(self.scenario, self.folder, count, offset=first)
        jobs = [Job(self.pipeline, Schedule(), question) for question in questions]
        self.questions += questions
        self.outcomes += play_kept(
            self.opened.runtime,
            jobs,
            self.log.full,
            first=first,
            concurrency=requests_at_once(self.scenario),
        )
        self.bin_tokens = self.bin_tokens or self._bin_tokens()
        numbers = range(first, first + count)
        with ThreadPoolExecutor(MEASURING_THREADS) as pool:
            for sample in pool.map(self._sample, numbers):
                self.samples.append(sample)
                on_sample()

    def _bin_tokens(self) -> int:
        readers = [agent.name for agent in self.pipeline.readers]
        longest = max(len(one.ids[name]) for one in self.outcomes for name in readers)
        return max(1, -(-longest // MOST_BINS))

    def _sample(self, number: int) -> QualitySample:
        return self.log.samples.item(str(number), lambda: self._measured(number))

    def _measured(self, number: int) -> QualitySample:
        outcome = self.outcomes[number]
        found = measure_sample(
            self.pipeline,
            self.opened.scorers_of(self.pipeline),
            outcome,
            self.score(self.questions[number], outcome.texts[self.pipeline.answer]),
            self.scenario.profile.read_levels,
            self.bin_tokens,
            None if number % LEFT_OUT else number // LEFT_OUT,
            self.layouts,
            READ_ON[number % len(READ_ON)] if _has_checks(self.scenario) else None,
        )
        return replace(found, passes=self._counter.of(outcome))


def loss_error(samples: Sequence[QualitySample]) -> float:
    """Half of the 90 % interval of the loss over its mean; loss is meant over all surfaces."""
    losses = [
        sum(
            float(np.mean([np.mean(row) for row in surface.loss[:-1]]))
            for by_layout in sample.surfaces.values()
            for surface in by_layout.values()
        )
        for sample in samples
    ]
    found = summarize(losses)
    return (found.high - found.low) / (2 * found.mean) if found.mean > 0 else 0.0
