"""From a scenario's simulated engines and workload to what ``simulate`` takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from profiles.catalog import engine_profile, find
from profiles.hardware.gpus import hardware
from profiles.hardware.hosts import Host, host
from profiles.hardware.known_models import model_shape
from profiles.hardware.roofline import Roofline
from profiles.hardware.transforms import Transform
from profiles.importers.bundles import check_range, read_bundle
from profiles.importers.deployment import Deployment, Link
from profiles.latency.endpoint import load_endpoint
from profiles.latency.profile import EngineProfile
from profiles.measured_guesses import measured_guesses
from simulator.core.cost import (
    Cost,
    cost_of_kernels,
    cost_of_profile,
    cost_of_roofline,
    linear_cost,
    with_host,
)
from simulator.core.cost_bounds import check_tables
from simulator.core.transformed_cost import transformed
from simulator.des.batching import BatchingSetup
from simulator.des.endpoint import EndpointSetup
from simulator.des.limits import Limits
from staircase.errors import ProfileError, ScenarioError
from staircase.files import named_path
from staircase.spec.simulated_spec import AnySimulatedSpec, EndpointSpec, SimulatedSpec
from staircase.spec.transform_spec import SpeculativeSpec, TransformSpec
from staircase.timeline import to_ps

ENDPOINT_KEYS = ("ttft_s", "itl_s", "ttft_per_token_s", "spread", "itl_spread")


def setup_of(
    spec: AnySimulatedSpec, name: str = "", replicate: int = 0, folder: Path = Path()
) -> BatchingSetup | EndpointSetup:
    """The engine ``name``; replicate 0 is as ``spec`` says, others have noise of their own.

    Args:
        folder: from which paths of profiles, kernels and a model's config.json are counted.

    Raises:
        ScenarioError: hardware, host or model is not known, or the model does not fit.
        ProfileError: a profile or kernel tables are missing or wrong, or the latter smaller than
            the engine's limits.
    """
    if isinstance(spec, EndpointSpec):
        return _endpoint_of(spec, replicate, folder)
    spec = _located(spec, folder)
    if spec.hardware is not None and spec.model is not None:
        return _modelled_of(spec, _roofline_of(spec, name, folder), name, replicate)
    factor = _factor(spec.spread, name, replicate)
    if spec.kernels is not None:
        return _kernels_of(spec, name, factor, folder)
    if spec.profile is not None:
        return _profiled_of(spec, name, engine_profile(spec.profile, spec.engine, folder), factor)
    return _replicas_of(spec, name, _linear_of(spec, factor), factor)


def _located(spec: SimulatedSpec, folder: Path) -> SimulatedSpec:
    """Profiles that its transforms name are counted from ``folder``."""
    changed: list[TransformSpec] = []
    for one in spec.transforms:
        if isinstance(one, SpeculativeSpec) and one.measured:
            path = str(named_path(one.measured.profile, folder))
            measured = one.measured.model_copy(update={"profile": path})
            one = one.model_copy(update={"measured": measured})
        changed.append(one)
    return spec.model_copy(update={"transforms": changed})


def _transforms_of(spec: SimulatedSpec) -> Iterator[Transform]:
    for one in spec.transforms:
        if isinstance(one, SpeculativeSpec) and one.measured:
            yield measured_guesses(Path(one.measured.profile), one.measured.agent)
        else:
            yield one


def _factor(spread: float, name: str, replicate: int) -> float:
    """Lognormal with mean 1; 1 for replicate 0."""
    if not replicate or not spread:
        return 1.0
    rng = np.random.default_rng([replicate, *name.encode()])
    return float(np.exp(spread * rng.standard_normal() - spread**2 / 2))


def _roofline_of(spec: SimulatedSpec, name: str, folder: Path) -> Roofline:
    assert spec.hardware is not None
    assert spec.model is not None
    try:
        shape = model_shape(spec.model, folder)
        return Roofline(shape, hardware(spec.hardware), spec.tensor_parallel)
    except ProfileError as error:
        raise ScenarioError(f"engines.{name}: {error}") from None


def _modelled_of(
    spec: SimulatedSpec, roofline: Roofline, name: str, replicate: int
) -> BatchingSetup:
    """Limits of KV blocks are those of the memory, unless given."""
    spread = spec.spread if "spread" in spec.model_fields_set else roofline.spread
    factor = _factor(spread, name, replicate)
    try:
        blocks = spec.kv_blocks or roofline.kv_blocks(spec.block_tokens)
    except ProfileError as error:
        raise ScenarioError(f"engines.{name}: {error}") from None
    cost = cost_of_roofline(roofline, spec.max_num_batched_tokens, spec.max_num_seqs, factor)
    return _replicas_of(spec.model_copy(update={"kv_blocks": blocks}), name, cost, factor)


def _host_of(spec: SimulatedSpec, name: str) -> Host:
    """What was published of the host that is named, and ``overhead_s``."""
    try:
        named = host(spec.host)
    except ProfileError as error:
        raise ScenarioError(f"engines.{name}: {error}") from None
    return replace(named, iteration_s=named.iteration_s + spec.overhead_s)


def _replicas_of(spec: SimulatedSpec, name: str, cost: Cost, factor: float) -> BatchingSetup:
    slower = with_host(cost, _host_of(spec, name), factor)
    limits = Limits(
        spec.max_num_batched_tokens,
        spec.max_num_seqs,
        spec.kv_blocks,
        spec.block_tokens,
        spec.prefix_caching,
        spec.scheduling,
        spec.async_scheduling,
        long_prefill_token_threshold=spec.long_prefill_token_threshold,
        enable_chunked_prefill=spec.enable_chunked_prefill,
        prefill_first=spec.prefill_first,
    )
    try:
        cost = transformed(slower, list(_transforms_of(spec)))
        check_tables(cost)
    except ProfileError as error:
        raise ScenarioError(f"engines.{name}: {error}") from None
    return BatchingSetup(
        cost,
        limits,
        spec.replicas,
        spec.routing,
        tuple(spec.priorities.items()),
        to_ps(spec.call_s),
        spec.device,
    )


def _profiled_of(
    spec: SimulatedSpec, name: str, profile: EngineProfile, factor: float
) -> BatchingSetup:
    """A call's fixed time is the profile's, unless given."""
    call_s = spec.call_s if "call_s" in spec.model_fields_set else profile.call_s
    limits = (spec.max_num_batched_tokens, spec.max_num_seqs)
    cost = cost_of_profile(profile.scaled(factor), *limits)
    return _replicas_of(spec.model_copy(update={"call_s": call_s}), name, cost, factor)


def _endpoint_of(given: EndpointSpec, replicate: int, folder: Path) -> EndpointSetup:
    spec = _with_profile(given, folder)
    seeds = np.random.SeedSequence([spec.seed, replicate])
    assert spec.ttft_s is not None
    assert spec.itl_s is not None
    return EndpointSetup(
        ttft_ps=to_ps(spec.ttft_s),
        itl_ps=to_ps(spec.itl_s),
        ttft_per_token_ps=to_ps(spec.ttft_per_token_s),
        ttft_per_cached_token_ps=to_ps(spec.ttft_per_cached_token_s),
        spread=spec.spread,
        itl_spread=spec.itl_spread,
        seed=int(seeds.generate_state(1)[0]) if replicate else spec.seed,
        concurrency=spec.concurrency,
        requests_per_min=spec.requests_per_min,
        tokens_per_min=spec.tokens_per_min,
        prefix_caching=spec.prefix_caching,
        block_tokens=spec.block_tokens,
        min_cached_tokens=spec.min_cached_tokens,
    )


def _with_profile(spec: EndpointSpec, folder: Path) -> EndpointSpec:
    """What the profile says, where the scenario does not."""
    if spec.profile is None:
        return spec
    profile = load_endpoint(find(spec.profile, folder))
    said = spec.model_dump(exclude_unset=True, exclude_none=True)
    known = {key: getattr(profile, key) for key in ENDPOINT_KEYS if key not in said}
    return spec.model_copy(update=known)


def _linear_of(spec: SimulatedSpec, factor: float) -> Cost:
    assert spec.decode_tokens_per_s is not None
    assert spec.prefill_tokens_per_s is not None
    return linear_cost(
        iteration_s=factor * (1 / spec.decode_tokens_per_s - spec.sequence_s),
        token_s=factor / spec.prefill_tokens_per_s,
        sequence_s=factor * spec.sequence_s,
        context_s=factor * spec.context_s,
        max_tokens=spec.max_num_batched_tokens,
        max_sequences=spec.max_num_seqs,
    )


def _kernels_of(given: SimulatedSpec, name: str, factor: float, folder: Path) -> BatchingSetup:
    """Data-parallel ranks are one replica, with the limits of all of them together.

    A chunk of a prompt is still no longer than one rank may read.
    """
    assert given.kernels is not None
    path, deployment = named_path(given.kernels, folder), _deployment_of(given, name, folder)
    tables, ranks = read_bundle(path, deployment), deployment.data_parallel
    threshold = given.long_prefill_token_threshold or given.max_num_batched_tokens
    spec = given.model_copy(
        update={
            "long_prefill_token_threshold": min(threshold, given.max_num_batched_tokens),
            "max_num_batched_tokens": ranks * given.max_num_batched_tokens,
            "max_num_seqs": ranks * given.max_num_seqs,
            "kv_blocks": given.kv_blocks and ranks * given.kv_blocks,
        }
    )
    limits = (spec.max_num_batched_tokens, spec.max_num_seqs)
    check_range(path, tables, *limits)
    scaled = replace(
        tables,
        tokens_s=factor * tables.tokens_s,
        sequences_s=factor * tables.sequences_s,
        attention_s=factor * tables.attention_s,
    )
    return _replicas_of(spec, name, cost_of_kernels(scaled, *limits), factor)


def _deployment_of(spec: SimulatedSpec, name: str, folder: Path) -> Deployment:
    if spec.model is None:
        assert spec.layers is not None
        return Deployment(spec.layers)
    try:
        shape = model_shape(spec.model, folder)
    except ProfileError as error:
        raise ScenarioError(f"engines.{name}: {error}") from None
    link = None
    if spec.link_gb_per_s is not None and spec.link_latency_s is not None:
        link = Link(spec.link_gb_per_s * 1e9, spec.link_latency_s)
    parallel = spec.tensor_parallel if "tensor_parallel" in spec.model_fields_set else None
    return Deployment(shape.layers, shape, parallel, spec.data_parallel, spec.expert_parallel, link)
