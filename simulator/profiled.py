"""Measured engines, as the simulator plays them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from profiles.guessed_passes import GuessedTexts, together
from profiles.latency.profile import EngineProfile
from simulator.core.cost import cost_of_profile, with_pieces
from simulator.core.guessed_cost import guessed
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.serial import SerialSetup
from staircase.spec.engine_spec import EngineSpec, OpenAISpec
from staircase.timeline import to_ps

# Of an engine in this process: more tokens than are ever needed, found one by one.
TOKEN_BLOCKS = 1 << 16
# Of a server nobody knows its memory, nor its limit on an iteration's tokens.
SERVER_TOKENS = 1 << 20
SERVER_BATCHED_TOKENS = 2048
NOTHING_GUESSED: Mapping[str, GuessedTexts] = {}


def setup_of_profile(
    profile: EngineProfile,
    spec: EngineSpec | OpenAISpec,
    name: str,
    texts: Mapping[str, GuessedTexts] = NOTHING_GUESSED,
) -> SerialSetup | BatchingSetup:
    """The engine ``name``; engines in this process share their device, servers have their own.

    A call to a server is on its way for ``call_s``, and others go on meanwhile. A call in this
    process is there at once, and takes ``call_s`` of the device's own thread.

    Args:
        texts: of agents whose texts the engine guesses; of no avail where the profile does not say
            what passes of several tokens take.
    """
    texts = texts if profile.pass_ratios else NOTHING_GUESSED
    if isinstance(spec, OpenAISpec):
        return _server(profile, spec, f"server of {name}")
    if spec.slots == 1:
        return _serial(profile, spec.place, texts)
    limits = Limits(spec.max_num_batched_tokens, spec.slots, TOKEN_BLOCKS, block_tokens=1)
    setup = _batching(replace(profile, call_s=0.0), limits, spec.place)
    cost = guessed(setup.cost, profile, together([*texts.values()])) if texts else setup.cost
    return replace(setup, cost=with_pieces(cost, profile.call_s))


def served_together(specs: Mapping[str, EngineSpec | OpenAISpec]) -> dict[str, str]:
    """By name of an engine, the first one with the same model of the same server.

    Engines of a scenario may differ in how they sample; the server computes all of it.
    """
    first: dict[tuple[str, str], str] = {}
    return {
        name: first.setdefault((spec.base_url, spec.model), name)
        if isinstance(spec, OpenAISpec)
        else name
        for name, spec in specs.items()
    }


def _serial(profile: EngineProfile, device: str, texts: Mapping[str, GuessedTexts]) -> SerialSetup:
    return SerialSetup(
        profile,
        device,
        {agent: some.pace(profile.pass_ratio) for agent, some in texts.items()},
        together([*texts.values()]).factor(profile.pass_ratio),
    )


def _server(profile: EngineProfile, spec: OpenAISpec, device: str) -> BatchingSetup:
    limits = Limits(SERVER_BATCHED_TOKENS, spec.max_concurrency, block_tokens=1)
    if profile.cache:
        block = profile.cache.block_tokens
        limits = replace(
            limits,
            blocks=SERVER_TOKENS // block,
            block_tokens=block,
            shares_headers=profile.cache.shares_headers,
        )
    return _batching(profile, limits, device)


def _batching(profile: EngineProfile, limits: Limits, device: str) -> BatchingSetup:
    return BatchingSetup(
        cost_of_profile(profile, limits.max_num_batched_tokens, limits.max_num_seqs),
        limits,
        call_ps=to_ps(profile.call_s),
        device=device,
        contention=profile.contention,
    )
