"""Measures how long the texts of a scenario's requests are, where quality cannot be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from executor.kept_runs import play_measured
from executor.line_log import ItemLog
from executor.measure.guessed_passes import PassCounter
from executor.opened_engines import OpenedEngines, read_dataset
from executor.runtime import Job, Outcome
from planner.profiling.guess_counting import pass_counter
from planner.profiling.latency_profiling import requests_key
from planner.profiling.lookups import lookup_words
from planner.profiling.quality_profiling import BATCH
from planner.profiling.subjects import pipeline_subject
from planner.profiling.text_batches import requests_at_once
from planner.progress import Track, no_track
from profiles.lengths import LengthProfile, LengthSample
from profiles.store import provenance_of_now
from staircase.metrics.request_metrics import summarize
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.spec.scenario import Scenario


def lengths_key(scenario: Scenario) -> str:
    """Of the requests that are played."""
    return f"{requests_key(scenario)} lengths"


def make_lengths(
    scenario: Scenario,
    folder: Path,
    opened: OpenedEngines,
    why: str,
    kept: ItemLog[LengthSample],
    track: Track = no_track,
) -> LengthProfile:
    """Plays requests in full, with everything read before it is written on.

    Until the mean of the tokens that a request's agents write is known within
    ``profile.quality_error`` of itself, or ``profile.requests`` are played.

    Args:
        why: quality cannot be measured, in words.
        kept: requests that were played; they are not played again.

    Raises:
        EngineError: a request failed.
    """
    most = scenario.profile.requests
    step = track("lengths of drafts and answers", None)
    samples: list[LengthSample] = []
    while len(samples) < most and not _is_known(samples, scenario.profile.quality_error):
        first = len(samples)
        numbers = range(first, min(first + BATCH, most))
        samples += _samples(scenario, folder, opened, kept, numbers, step)
    settings = scenario.profile.model_dump(mode="json", include={"requests", "quality_error"})
    return LengthProfile(
        tuple(samples),
        why,
        pipeline_subject(scenario),
        provenance_of_now(settings),
        lookup_words(scenario),
    )


def _samples(
    scenario: Scenario,
    folder: Path,
    opened: OpenedEngines,
    kept: ItemLog[LengthSample],
    numbers: range,
    step: Callable[[], None],
) -> list[LengthSample]:
    pipeline = scenario.pipeline.build()
    questions = read_dataset(scenario, folder, len(numbers), numbers.start)
    jobs = [Job(pipeline, Schedule(), question) for question in questions]
    return play_measured(
        opened.runtime,
        jobs,
        list(map(str, numbers)),
        kept,
        partial(_with_passes, pipeline, pass_counter(scenario, opened)),
        step,
        concurrency=requests_at_once(scenario),
    )


def _with_passes(pipeline: Pipeline, counter: PassCounter, outcome: Outcome) -> LengthSample:
    return replace(_lengths(pipeline, outcome), passes=counter.of(outcome))


def _lengths(pipeline: Pipeline, outcome: Outcome) -> LengthSample:
    lengths = {name: len(ids) for name, ids in outcome.ids.items()}
    written = {agent.name: lengths.pop(agent.name) for agent in pipeline}
    line, updates = outcome.timeline, dict(outcome.updates)
    items = {name: list(begun) for name, begun in line.items.items()}
    return LengthSample(lengths, written, line.thinking_tokens, items, updates)


def _is_known(samples: list[LengthSample], error: float) -> bool:
    if not samples:
        return False
    found = summarize([float(sum(sample.output_tokens.values())) for sample in samples])
    return (found.high - found.low) / 2 <= error * found.mean
