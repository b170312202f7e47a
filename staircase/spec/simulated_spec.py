"""Engines of a scenario file that only the simulator plays."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from staircase.bounds import (
    LONGEST_ITERATION_S,
    MOST,
    MOST_BATCHED_TOKENS,
    MOST_BLOCKS,
    MOST_DEVICES,
    MOST_LAYERS,
    MOST_REPLICAS,
    MOST_SEQUENCES,
    MOST_TOKENS_PER_MIN,
)
from staircase.spec.strict import (
    Count,
    PositiveSeconds,
    Rate,
    Seconds,
    Seed,
    Spread,
    Strict,
    Tokens,
    TokensFrom0,
)
from staircase.spec.transform_spec import TransformSpec


@dataclass(frozen=True)
class CostWay:
    """One way to say what an iteration of a simulated engine costs, by its keys."""

    needed: tuple[str, ...]
    also: tuple[str, ...]
    instead: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        return self.needed + self.also


COST_WAYS = (
    CostWay(
        ("decode_tokens_per_s", "prefill_tokens_per_s"),
        ("sequence_s", "context_s"),
        "; or hardware and model; or kernels and layers or model; or profile",
    ),
    CostWay(("hardware", "model"), ("tensor_parallel", "overhead_s", "host")),
    CostWay(("kernels", "layers"), ("overhead_s", "host"), "; or kernels and model"),
    CostWay(
        ("kernels", "model"),
        (
            "tensor_parallel",
            "data_parallel",
            "expert_parallel",
            "link_gb_per_s",
            "link_latency_s",
            "overhead_s",
            "host",
        ),
    ),
    CostWay(("profile",), ("engine", "overhead_s", "host")),
)


def _way_of(given: AbstractSet[str]) -> CostWay:
    """That of which most needed keys are given, else one of which another key is."""
    others = COST_WAYS[1:]
    best = max(others, key=lambda way: len(given & set(way.needed)))
    if given & set(best.needed):
        return best
    return next((way for way in others if given & set(way.also)), COST_WAYS[0])


class SimulatedSpec(Strict):
    """An engine that exists only in the simulator: replicas that batch as vLLM does.

    An iteration costs ``1 / decode_tokens_per_s`` with one sequence, ``sequence_s`` for each
    further one, ``context_s`` for each token of context, and ``1 / prefill_tokens_per_s`` for each
    prompt token. Or it costs what a roofline says of ``model`` (a known name, or the path of a
    config.json) on ``tensor_parallel`` devices of ``hardware``, and ``kv_blocks`` are as many as
    fit beside the weights. ``call_s`` passes before a call reaches its replica. Limits have vLLM's
    names. With ``prefill_first`` iterations that compute prompts decode nothing, as in SGLang
    without ``--enable-mixed-chunk``; without ``enable_chunked_prefill`` prompts are not cut, as in
    TensorRT-LLM unless it is asked to.
    ``spread`` says how far all that may be off: replicates scale it by a lognormal factor with this
    standard deviation of the logarithm. ``priorities`` are by agent, lower goes first. All replicas
    of the engines that name the same ``device`` take turns on it, one iteration each; without a
    name each has a device of its own.

    In place of the rates, ``kernels`` names a folder of kernel times in LLMServingSim's or Vidur's
    format, for a model of ``layers``, or for ``model``, if it has experts or several devices. What
    these tell each other takes ``link_gb_per_s``, in one direction, and ``link_latency_s`` a
    message. ``data_parallel`` ranks wait for each other at every layer's experts, which
    ``expert_parallel`` spreads over them whole; limits are then of each rank. Or ``profile`` names
    a file, or a profile of the catalogue, with what ``engine`` of it costs; ``call_s`` is then the
    profile's, unless given. In all but the first way ``overhead_s`` is added to each iteration, for
    what an engine does on its host, or what was published of a ``host`` by name
    (``profiles.hardware.hosts``), or both. ``transforms`` change what decoding costs.
    """

    kind: Literal["simulated"]
    decode_tokens_per_s: Rate | None = None
    prefill_tokens_per_s: Rate | None = None
    kernels: str | None = None
    layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)] | None = None
    data_parallel: Annotated[int, Field(ge=1, le=MOST_DEVICES)] = 1
    expert_parallel: bool = False
    link_gb_per_s: Rate | None = None
    link_latency_s: Seconds | None = None
    overhead_s: Seconds = 0.0
    host: str = "none"
    sequence_s: Seconds = 0.0
    context_s: Seconds = 0.0
    call_s: Seconds = 0.0
    replicas: Annotated[int, Field(ge=1, le=MOST_REPLICAS)] = 1
    routing: Literal["least", "affine"] = "least"
    max_num_batched_tokens: Annotated[int, Field(ge=1, le=MOST_BATCHED_TOKENS)] = 2048
    max_num_seqs: Annotated[int, Field(ge=1, le=MOST_SEQUENCES)] = 256
    long_prefill_token_threshold: Annotated[int, Field(ge=1, le=MOST_BATCHED_TOKENS)] | None = None
    enable_chunked_prefill: bool = True
    prefill_first: bool = False
    kv_blocks: Annotated[int, Field(ge=1, le=MOST_BLOCKS)] | None = None
    block_tokens: Tokens = 16
    prefix_caching: bool = True
    scheduling: Literal["fcfs", "priority"] = "fcfs"
    async_scheduling: bool = False
    priorities: dict[str, Annotated[int, Field(ge=-MOST, le=MOST)]] = {}
    device: str | None = None
    spread: Spread = 0.0
    hardware: str | None = None
    model: str | None = None
    tensor_parallel: Annotated[int, Field(ge=1, le=MOST_DEVICES)] = 1
    profile: str | None = None
    engine: str | None = None
    transforms: list[TransformSpec] = []

    @property
    def caches_prefixes(self) -> bool:
        """By hardware, blocks are as many as fit."""
        return self.prefix_caching and bool(self.kv_blocks or self.hardware)

    @model_validator(mode="after")
    def _check_cost(self) -> Self:
        """What an iteration costs is said in one of these ways."""
        given = self.model_fields_set
        way = _way_of(given)
        words = " and ".join(way.needed)
        for key in way.needed:
            if getattr(self, key) is None:
                raise ValueError(f"{key} is missing: give {words}{way.instead}")
        for key in dict.fromkeys(key for other in COST_WAYS for key in other.keys):
            if key in given and key not in way.keys:
                raise ValueError(f"{key} must not be given beside {words}, which say it")
        return self

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        """Nothing is given that would have no effect."""
        if self.priorities and self.scheduling != "priority":
            raise ValueError("priorities need scheduling: priority")
        if self.long_prefill_token_threshold and not self.enable_chunked_prefill:
            raise ValueError("long_prefill_token_threshold needs enable_chunked_prefill")
        for key in ("block_tokens", "prefix_caching"):
            is_asked = key in self.model_fields_set and getattr(self, key)
            if is_asked and self.kv_blocks is None and self.hardware is None:
                raise ValueError(f"{key} needs kv_blocks; without a limit there are no blocks")
        return self

    @model_validator(mode="after")
    def _check_iterations(self) -> Self:
        """By rates, every iteration takes some time, and none too much."""
        if self.decode_tokens_per_s is None or self.prefill_tokens_per_s is None:
            return self
        one_s = 1 / self.decode_tokens_per_s
        if self.sequence_s > one_s:
            raise ValueError(
                f"sequence_s is {self.sequence_s:g}, must be at most 1 / decode_tokens_per_s, "
                f"{one_s:g}: what an iteration with one sequence takes in all"
            )
        for key, seconds in {
            "decode_tokens_per_s": one_s + self.sequence_s * self.max_num_seqs,
            "prefill_tokens_per_s": self.max_num_batched_tokens / self.prefill_tokens_per_s,
        }.items():
            if seconds > LONGEST_ITERATION_S:
                raise ValueError(
                    f"{key}: an iteration may take {seconds:.3g} s, must be at most "
                    f"{LONGEST_ITERATION_S:g} s with all of max_num_seqs or max_num_batched_tokens"
                )
        return self

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        if self.kv_blocks and self.replicas * self.kv_blocks > MOST_BLOCKS:
            raise ValueError(
                f"kv_blocks: {self.replicas} replicas of {self.kv_blocks} are too many, "
                f"must be at most {MOST_BLOCKS} in all"
            )
        return self


class EndpointSpec(Strict):
    """An engine that only the simulator plays: an API of which only latency is known.

    A call's first token comes after ``ttft_s``, ``ttft_per_token_s`` for each prompt token that is
    not cached and ``ttft_per_cached_token_s`` for each that is; the others ``itl_s`` apart.
    ``spread`` and ``itl_spread`` (the same, if not given) make TTFT and ITL lognormal around these
    means, call by call: standard deviations of the logarithm. A call waits for its turn under
    ``concurrency``, ``requests_per_min`` and ``tokens_per_min`` (prompt and max_tokens).
    In place of TTFT and ITL, ``profile`` names a file with those of a load test.
    ``prefix_caching`` finds what an agent's earlier calls sent and wrote, in whole ``block_tokens``
    and at least ``min_cached_tokens``; the defaults are OpenAI's.
    """

    kind: Literal["endpoint"]
    profile: str | None = None
    ttft_s: PositiveSeconds | None = None
    itl_s: PositiveSeconds | None = None
    ttft_per_token_s: Seconds = 0.0
    ttft_per_cached_token_s: Seconds = 0.0
    spread: Spread = 0.0
    itl_spread: Spread | None = None
    seed: Seed = 0
    concurrency: Count | None = None
    requests_per_min: Count | None = None
    tokens_per_min: Annotated[int, Field(ge=1, le=MOST_TOKENS_PER_MIN)] | None = None
    prefix_caching: bool = False
    block_tokens: Tokens = 128
    min_cached_tokens: TokensFrom0 = 1024

    @model_validator(mode="after")
    def _check_latency(self) -> Self:
        """TTFT and ITL are given, or a profile that says them; single keys beside it win."""
        for key in ("ttft_s", "itl_s"):
            if self.profile is None and getattr(self, key) is None:
                raise ValueError(f"{key} is missing: give ttft_s and itl_s, or profile")
        return self

    @model_validator(mode="after")
    def _check_caching(self) -> Self:
        for key in ("ttft_per_cached_token_s", "block_tokens", "min_cached_tokens"):
            if key in self.model_fields_set and not self.prefix_caching:
                raise ValueError(f"{key} needs prefix_caching: true")
        return self


AnySimulatedSpec = SimulatedSpec | EndpointSpec
