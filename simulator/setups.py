"""From a scenario's simulated engines and workload to what ``simulate`` takes."""

from __future__ import annotations

import numpy as np

from simulator.batching import BatchingSetup, Limits
from simulator.cost import Cost, linear_cost
from simulator.endpoint import EndpointSetup
from staircase.pipeline import Pipeline
from staircase.prompt import query
from staircase.scenario import (
    AnySimulatedSpec,
    EndpointSpec,
    Length,
    LogNormalSpec,
    SimulatedSpec,
    WorkloadSpec,
)
from staircase.timeline import to_ps
from staircase.workload import RequestShape, Workload


def setup_of(spec: AnySimulatedSpec) -> BatchingSetup | EndpointSetup:
    return _endpoint_of(spec) if isinstance(spec, EndpointSpec) else _replicas_of(spec)


def _replicas_of(spec: SimulatedSpec) -> BatchingSetup:
    limits = Limits(
        spec.max_num_batched_tokens,
        spec.max_num_seqs,
        spec.kv_blocks,
        spec.block_tokens,
        spec.prefix_caching,
        spec.scheduling,
    )
    return BatchingSetup(
        _cost_of(spec), limits, spec.replicas, spec.routing, call_ps=to_ps(spec.call_s)
    )


def _endpoint_of(spec: EndpointSpec) -> EndpointSetup:
    return EndpointSetup(
        ttft_ps=to_ps(spec.ttft_s),
        itl_ps=to_ps(spec.itl_s),
        ttft_per_token_ps=to_ps(spec.ttft_per_token_s),
        ttft_per_cached_token_ps=to_ps(spec.ttft_per_cached_token_s),
        spread=spec.spread,
        itl_spread=spec.itl_spread,
        seed=spec.seed,
        concurrency=spec.concurrency,
        requests_per_min=spec.requests_per_min,
        tokens_per_min=spec.tokens_per_min,
        prefix_caching=spec.prefix_caching,
        block_tokens=spec.block_tokens,
        min_cached_tokens=spec.min_cached_tokens,
    )


def _cost_of(spec: SimulatedSpec) -> Cost:
    return linear_cost(
        iteration_s=1 / spec.decode_tokens_per_s - spec.sequence_s,
        token_s=1 / spec.prefill_tokens_per_s,
        sequence_s=spec.sequence_s,
        context_s=spec.context_s,
        max_tokens=spec.max_num_batched_tokens,
        max_sequences=spec.max_num_seqs,
    )


def workload_of(spec: WorkloadSpec, pipeline: Pipeline) -> Workload:
    """Seeded lengths and arrivals."""
    rng = np.random.default_rng(spec.seed)
    queries = _draw(rng, spec.query_tokens, spec.requests)
    written = {
        name: _draw(rng, length, spec.requests) for name, length in spec.output_tokens.items()
    }
    shapes = [
        RequestShape(
            {query(agent.name): queries[number] for agent in pipeline},
            {name: lengths[number] for name, lengths in written.items()},
            spec.ends_with,
        )
        for number in range(spec.requests)
    ]
    if spec.rate_per_s is None:
        return Workload(shapes, spec.concurrency)
    shape = 1 / spec.burstiness**2
    gaps = rng.gamma(shape, 1 / (spec.rate_per_s * shape), spec.requests)
    return Workload(shapes, arrivals_ps=[to_ps(second) for second in np.cumsum(gaps)])


def _draw(rng: np.random.Generator, length: Length, count: int) -> list[int]:
    if not isinstance(length, LogNormalSpec):
        return [length] * count
    middle = np.log(length.mean) - length.sigma**2 / 2
    return [max(1, round(x)) for x in rng.lognormal(middle, length.sigma, count)]
