"""The simulator's forecast of the schedules that were measured, from the profile that was saved.

Needs no GPU and no model, but numba, pydantic, scipy and simpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

from benchmarks.gpu.lab import Lab, Row
from benchmarks.gpu.moa import (
    AGGREGATOR,
    DEPLOYMENTS,
    FORM,
    METRICS,
    PROPOSERS,
    pipeline_of,
    variants_of,
)
from benchmarks.gpu.profiling import PROFILE_FILE
from benchmarks.gpu.shape import Shape
from executor.rendering import fixed_texts
from profiles.latency import EngineProfile, load_latency
from simulator.batching import BatchingSetup, Limits
from simulator.cost import cost_of_profile
from simulator.engine import EngineSetup
from simulator.serial import SerialSetup
from simulator.simulate import simulate
from staircase import Pipeline, RequestShape, Workload
from staircase.metrics import measure
from staircase.timeline import to_ps

BUDGET_TOKENS = 2048
# Of one token each, as the real engine re-uses prefixes token by token; more than are ever needed.
BLOCKS = 1 << 16


def forecast(lab: Lab) -> Iterator[Row]:
    """By deployment and variant. No simulated engine is quite the measured one:

    batching    batches as the measured one; two of them do not share a device, so that the
                forecast of ``apart`` is a lower bound
    in turn     the four agents take turns on one device, each token a pass of its own, so that it
                is an upper bound
    """
    profile = load_latency(lab.folder / PROFILE_FILE)[AGGREGATOR]
    for deployment in DEPLOYMENTS:
        pipeline, engines = pipeline_of(lab.shape, deployment), _batching(profile, deployment)
        for row in _forecasts(lab.shape, pipeline, engines):
            yield {"deployment": deployment, "engines": "batching"} | row
    for row in _forecasts(lab.shape, _one_engine_each(lab.shape), _in_turn(profile)):
        yield {"deployment": "apart", "engines": "in turn"} | row


def _one_engine_each(shape: Shape) -> Pipeline:
    pipeline = pipeline_of(shape, "apart")
    return replace(pipeline, agents=tuple(replace(a, engine=a.name) for a in pipeline))


def _in_turn(profile: EngineProfile) -> dict[str, SerialSetup]:
    return dict.fromkeys((*PROPOSERS, AGGREGATOR), SerialSetup(profile))


def _batching(profile: EngineProfile, deployment: str) -> dict[str, BatchingSetup]:
    return {
        engine: BatchingSetup(
            cost_of_profile(profile, BUDGET_TOKENS, len(agents)),
            Limits(BUDGET_TOKENS, len(agents), blocks=BLOCKS, block_tokens=1),
            call_ps=to_ps(profile.call_s),
        )
        for engine, agents in DEPLOYMENTS[deployment].items()
    }


def _forecasts(
    shape: Shape, pipeline: Pipeline, engines: Mapping[str, EngineSetup]
) -> Iterator[Row]:
    workload = Workload([_request(shape, pipeline)])
    for variant in variants_of(shape):
        [timeline] = simulate(pipeline, variant.schedule(pipeline), engines, workload)
        metrics = asdict(measure(timeline))
        yield {**asdict(variant), **{name: metrics[name] for name in METRICS}}


def _request(shape: Shape, pipeline: Pipeline) -> RequestShape:
    """Texts have a token for each character."""
    query = "x" * shape.query_tokens
    fixed = {
        name: len(text)
        for agent in pipeline
        for name, text in fixed_texts(agent, query, FORM).items()
    }
    written = dict.fromkeys((agent.name for agent in pipeline), shape.written_tokens)
    return RequestShape(fixed, written, ends_with="length")
