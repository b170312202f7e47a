"""Measures how long the texts of a scenario's requests are, where quality cannot be measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from executor.bench import Bench, read_dataset
from executor.kept_runs import check_answered
from executor.runtime import Job
from planner.profiling import Track, no_track
from planner.quality_profiling import BATCH
from planner.subjects import pipeline_subject
from profiles.lengths import LengthProfile, LengthSample
from profiles.store import provenance_of_now
from staircase.metrics import summarize
from staircase.scenario import Scenario
from staircase.schedule import Schedule


def make_lengths(
    scenario: Scenario, folder: Path, bench: Bench, why: str, track: Track = no_track
) -> LengthProfile:
    """Plays requests in full, with everything read before it is written on.

    Until the mean of the tokens that a request's agents write is known within
    ``profile.quality_error`` of itself, or ``profile.requests`` are played.

    Args:
        why: quality cannot be measured, in words.

    Raises:
        EngineError: a request failed.
    """
    most = scenario.profile.requests
    step = track("lengths of drafts and answers", None)
    samples: list[LengthSample] = []
    while len(samples) < most and not _is_known(samples, scenario.profile.quality_error):
        count = min(BATCH, most - len(samples))
        for sample in _play(scenario, folder, bench, count, len(samples)):
            samples.append(sample)
            step()
    settings = scenario.profile.model_dump(mode="json", include={"requests", "quality_error"})
    return LengthProfile(
        tuple(samples), why, pipeline_subject(scenario), provenance_of_now(settings)
    )


def _play(
    scenario: Scenario, folder: Path, bench: Bench, count: int, offset: int
) -> Iterator[LengthSample]:
    pipeline = scenario.pipeline.build()
    agents = [agent.name for agent in pipeline]
    for question in read_dataset(scenario, folder, count, offset):
        outcomes = bench.runtime.run([Job(pipeline, Schedule(), question)])
        check_answered(outcomes[0])
        lengths = {name: len(ids) for name, ids in outcomes[0].ids.items()}
        written = {name: lengths.pop(name) for name in agents}
        yield LengthSample(lengths, written)


def _is_known(samples: list[LengthSample], error: float) -> bool:
    if not samples:
        return False
    found = summarize([float(sum(sample.output_tokens.values())) for sample in samples])
    return (found.high - found.low) / 2 <= error * found.mean
