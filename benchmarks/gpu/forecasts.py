"""The simulator's forecast of the schedules that were measured, from the profile that was saved.

Needs no GPU and no model, but numba, pydantic, scipy and simpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from benchmarks.gpu.harness import Harness, Row
from benchmarks.gpu.moa import (
    AGGREGATOR,
    DEPLOYMENTS,
    FORM,
    METRICS,
    pipeline_of,
    variants_of,
)
from benchmarks.gpu.profiling import PROFILE_FILE
from benchmarks.gpu.shape import ModelShape
from executor.tokens.rendering import fixed_texts
from profiles.latency.profile import EngineProfile, load_latency
from simulator.des.batching import BatchingSetup
from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate
from simulator.engine import EngineSetup
from simulator.profiled import setup_of_profile
from staircase import Pipeline, RequestShape, Workload
from staircase.metrics.request_metrics import measure
from staircase.spec.engine_spec import EngineSpec


def forecast(harness: Harness) -> Iterator[Row]:
    """By deployment and variant, on engines that batch and take turns as the measured ones do."""
    profile = load_latency(harness.folder / PROFILE_FILE)[AGGREGATOR]
    for deployment in DEPLOYMENTS:
        pipeline, engines = pipeline_of(harness.shape, deployment), _engines(profile, deployment)
        for row in _forecasts(harness.shape, pipeline, engines):
            yield {"deployment": deployment} | row


def _engines(profile: EngineProfile, deployment: str) -> dict[str, SerialSetup | BatchingSetup]:
    return {
        engine: setup_of_profile(profile, EngineSpec(model="", slots=len(agents)), engine)
        for engine, agents in DEPLOYMENTS[deployment].items()
    }


def _forecasts(
    shape: ModelShape, pipeline: Pipeline, engines: Mapping[str, EngineSetup]
) -> Iterator[Row]:
    workload = Workload([_request(shape, pipeline)])
    for variant in variants_of(shape):
        [timeline] = simulate(pipeline, variant.schedule(pipeline), engines, workload)
        metrics = asdict(measure(timeline))
        yield {**asdict(variant), **{name: metrics[name] for name in METRICS}}


def _request(shape: ModelShape, pipeline: Pipeline) -> RequestShape:
    """Texts have a token for each character."""
    query = "x" * shape.query_tokens
    fixed = {
        name: len(text)
        for agent in pipeline
        for name, text in fixed_texts(agent, query, FORM).items()
    }
    written = dict.fromkeys((agent.name for agent in pipeline), shape.written_tokens)
    return RequestShape(fixed, written, ends_with="length")
