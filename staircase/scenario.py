"""Scenario files: one YAML file that says what to profile, plan and validate."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from staircase.errors import PipelineError, ScenarioError
from staircase.files import first_error, read_text
from staircase.pipeline import Agent, Pipeline, chain, debate, moa, single
from staircase.request_trace import MOST_TOKENS, TraceFormat
from staircase.schedule import LAYOUTS, LEAST_RATIO, Layout

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Of a lognormal: the standard deviation of the logarithm.
Spread = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """A part of a scenario file: unknown keys are errors that name the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise ValueError(f"must be a mapping with keys {', '.join(cls.model_fields)}")
        for key in data:
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                known = ", ".join(cls.model_fields)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {known}"
                raise ValueError(f"unknown key {key!r}; {hint}")
        return data


class AgentSpec(Strict):
    """Details of one agent; ``reads`` only where the pipeline is drawn agent by agent."""

    engine: str = ""
    reads: list[str] = []
    role: str = ""
    max_tokens: Count = 512


class MoaSpec(Strict):
    layers: list[list[str]]
    answer: str = "aggregator"


class DebateSpec(Strict):
    debaters: list[str]
    rounds: Count
    answer: str = "judge"


class PipelineSpec(Strict):
    """One of ``moa``, ``debate``, ``chain``, ``single``, or ``agents`` with their ``reads``."""

    moa: MoaSpec | None = None
    debate: DebateSpec | None = None
    chain: list[str] | None = None
    single: str | None = None
    agents: dict[str, AgentSpec] = {}
    answer: str | None = None

    def build(self) -> Pipeline:
        drawn = self._drawn()
        if drawn is None:
            return Pipeline(
                tuple(_agent(name, spec) for name, spec in self.agents.items()), self.answer or ""
            )
        for name, spec in self.agents.items():
            if name not in [agent.name for agent in drawn]:
                raise PipelineError(f"pipeline.agents.{name}: no such agent in the drawn pipeline")
            if spec.reads:
                raise PipelineError(f"pipeline.agents.{name}.reads: the drawn pipeline says this")
        return replace(drawn, agents=tuple(self._detailed(agent) for agent in drawn))

    def _drawn(self) -> Pipeline | None:
        kinds = [self.moa, self.debate, self.chain, self.single]
        if sum(kind is not None for kind in kinds) > 1:
            raise PipelineError("pipeline: give only one of moa, debate, chain, single")
        if self.moa:
            return moa(self.moa.layers, self.moa.answer)
        if self.debate:
            return debate(self.debate.debaters, self.debate.rounds, self.debate.answer)
        if self.chain is not None:
            return chain(self.chain)
        return single(self.single) if self.single else None

    def _detailed(self, agent: Agent) -> Agent:
        spec = self.agents.get(agent.name)
        if spec is None:
            return agent
        return replace(
            agent, engine=spec.engine or agent.engine, role=spec.role, max_tokens=spec.max_tokens
        )


def _agent(name: str, spec: AgentSpec) -> Agent:
    return Agent(name, spec.engine, tuple(spec.reads), spec.role, spec.max_tokens)


class FormatSpec(Strict):
    """Templates of the prompt texts that do not grow; ``{role}``, ``{query}``, ``{source}``."""

    header: str = "{role}\n\n"
    query: str = "{query}\n\n"
    label: str = "\n\n{source}:\n"
    own: str = "\n\nAnswer:\n"


class EngineSpec(Strict):
    """An in-process transformers engine, in turn with others on its device.

    It serves one call at a time, or with more ``slots`` as many at once, computing at most
    ``max_num_batched_tokens`` in an iteration. ``weights: dummy`` are random ones for the model's
    config.json, which need no other file: right for latency, nonsense as text.
    """

    kind: Literal["transformers"] = "transformers"
    model: str
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    weights: Literal["file", "dummy"] = "file"
    slots: Count = 1
    max_num_batched_tokens: Count = 2048
    format: FormatSpec | None = None

    @model_validator(mode="after")
    def _check_slots(self) -> Self:
        if self.slots == 1 and "max_num_batched_tokens" in self.model_fields_set:
            raise ValueError("max_num_batched_tokens needs more than one of slots")
        if self.max_num_batched_tokens < self.slots:
            raise ValueError(f"max_num_batched_tokens must not be below slots, {self.slots}")
        return self


# The two ways to say what an iteration costs; of each the first two keys are needed.
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
        "; or hardware and model; or kernels and layers",
    ),
    CostWay(("hardware", "model"), ("tensor_parallel",)),
    CostWay(("kernels", "layers"), ("overhead_s",)),
)


class SimulatedSpec(Strict):
    """An engine that exists only in the simulator: replicas that batch as vLLM does.

    An iteration costs ``1 / decode_tokens_per_s`` with one sequence, ``sequence_s`` for each
    further one, ``context_s`` for each token of context, and ``1 / prefill_tokens_per_s`` for each
    prompt token. Or it costs what a roofline says of ``model`` (a known name, or the path of a
    config.json) on ``tensor_parallel`` devices of ``hardware``, and ``kv_blocks`` are as many as
    fit beside the weights. ``call_s`` passes before a call reaches its replica. Limits have vLLM's
    names.
    ``spread`` says how far all that may be off: replicates scale it by a lognormal factor with this
    standard deviation of the logarithm. ``priorities`` are by agent, lower goes first. All replicas
    of the engines that name the same ``device`` take turns on it, one iteration each; without a
    name each has a device of its own.

    In place of the rates, ``kernels`` names a folder of kernel times in LLMServingSim's or Vidur's
    format, for a model of ``layers``; each iteration takes ``overhead_s`` more than its kernels.
    """

    kind: Literal["simulated"]
    decode_tokens_per_s: Annotated[float, Field(gt=0)] | None = None
    prefill_tokens_per_s: Annotated[float, Field(gt=0)] | None = None
    kernels: str | None = None
    layers: Count | None = None
    overhead_s: Seconds = 0.0
    sequence_s: Annotated[float, Field(ge=0)] = 0.0
    context_s: Annotated[float, Field(ge=0)] = 0.0
    call_s: Annotated[float, Field(ge=0)] = 0.0
    replicas: Count = 1
    routing: Literal["least", "affine"] = "least"
    max_num_batched_tokens: Count = 2048
    max_num_seqs: Count = 256
    kv_blocks: Count | None = None
    block_tokens: Count = 16
    prefix_caching: bool = True
    scheduling: Literal["fcfs", "priority"] = "fcfs"
    async_scheduling: bool = False
    priorities: dict[str, int] = {}
    device: str | None = None
    spread: Spread = 0.0
    hardware: str | None = None
    model: str | None = None
    tensor_parallel: Count = 1

    @model_validator(mode="after")
    def _check_cost(self) -> Self:
        """What an iteration costs is said in one of three ways."""
        given = self.model_fields_set
        way = next((way for way in COST_WAYS[1:] if given & set(way.keys)), COST_WAYS[0])
        words = " and ".join(way.needed)
        for key in way.needed:
            if getattr(self, key) is None:
                raise ValueError(f"{key} is missing: give {words}{way.instead}")
        for key in [key for other in COST_WAYS if other is not way for key in other.keys]:
            if key in given:
                raise ValueError(f"{key} must not be given beside {words}, which say it")
        return self


class EndpointSpec(Strict):
    """An engine that only the simulator plays: an API of which only latency is known.

    A call's first token comes after ``ttft_s``, ``ttft_per_token_s`` for each prompt token that is
    not cached and ``ttft_per_cached_token_s`` for each that is; the others ``itl_s`` apart.
    ``spread`` and ``itl_spread`` (the same, if not given) make TTFT and ITL lognormal around these
    means, call by call: standard deviations of the logarithm. A call waits for its turn under
    ``concurrency``, ``requests_per_min`` and ``tokens_per_min`` (prompt and max_tokens).
    ``prefix_caching`` finds what an agent's earlier calls sent and wrote, in whole ``block_tokens``
    and at least ``min_cached_tokens``; the defaults are OpenAI's.
    """

    kind: Literal["endpoint"]
    ttft_s: PositiveSeconds
    itl_s: PositiveSeconds
    ttft_per_token_s: Seconds = 0.0
    ttft_per_cached_token_s: Seconds = 0.0
    spread: Spread = 0.0
    itl_spread: Spread | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    concurrency: Count | None = None
    requests_per_min: Count | None = None
    tokens_per_min: Count | None = None
    prefix_caching: bool = False
    block_tokens: Count = 128
    min_cached_tokens: Count = 1024


class OpenAISpec(Strict):
    """An engine behind an OpenAI-compatible server, whose ``base_url`` mostly ends in ``/v1``.

    ``tokenizer`` is the model's folder, hub id or ``embedded``; with it tokens are counted as the
    model counts them, and go over the wire as ids where the server takes and returns them. The key
    is read from the environment variable ``api_key_env`` and is nowhere else. ``timeout_s`` passes
    at most without news of a call; before its first token a call is sent up to ``tries`` times.
    ``priority`` is sent where the server takes it.
    """

    kind: Literal["openai"]
    base_url: str
    model: str
    api: Literal["auto", "completions", "chat"] = "auto"
    tokenizer: str | None = None
    api_key_env: str | None = None
    timeout_s: PositiveSeconds = 60.0
    connect_timeout_s: PositiveSeconds = 5.0
    tries: Count = 3
    max_concurrency: Count = 64
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    priority: int | None = None
    format: FormatSpec | None = None

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be a URL such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no name, password or query; a key goes by api_key_env")
        return value

    @field_validator("api_key_env")
    @classmethod
    def _check_variable(cls, value: str | None) -> str | None:
        # Not repeated: who errs here may have written the key itself.
        if value is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            raise ValueError("must be the name of an environment variable, not a key")
        return value


class LogNormalSpec(Strict):
    """Lengths with this mean; ``sigma`` is the standard deviation of their logarithm."""

    mean: Annotated[float, Field(ge=1, le=MOST_TOKENS)]
    sigma: Annotated[float, Field(gt=0, le=10)]


class ValuesSpec(Strict):
    """Lengths drawn from these, each as likely as the others."""

    values: Annotated[list[Annotated[int, Field(ge=0, le=MOST_TOKENS)]], Field(min_length=1)]


class LengthFileSpec(Strict):
    """Lengths drawn from a file beside the scenario: one number a line, or a CSV's ``column``."""

    file: str
    column: str | None = None


def _length_kind(length: Any) -> str:
    keys = vars(length) if isinstance(length, Strict) else length
    if not isinstance(keys, Mapping):
        return "number"
    return next((kind for kind in ("values", "file") if kind in keys), "lognormal")


Length = Annotated[
    Annotated[Count, Tag("number")]
    | Annotated[LogNormalSpec, Tag("lognormal")]
    | Annotated[ValuesSpec, Tag("values")]
    | Annotated[LengthFileSpec, Tag("file")],
    Discriminator(_length_kind),
]


class RequestTraceSpec(Strict):
    """Requests as they once arrived: the first ``limit`` of ``file``, ``speed`` times as fast."""

    file: str
    format: TraceFormat
    limit: Count | None = None
    speed: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0


# What a trace says, by the keys that would say it too.
TRACED = {
    "rate_per_s": "when requests arrive",
    "burstiness": "when requests arrive",
    "concurrency": "when requests arrive",
    "query_tokens": "how long queries are",
}


class WorkloadSpec(Strict):
    """Requests as lengths, for simulated engines.

    ``query_tokens`` is the user's query, ``output_tokens`` what each agent writes. Requests arrive
    at ``rate_per_s`` (Poisson; ``burstiness`` above 1 makes the gaps gamma with that coefficient of
    variation), or, without a rate, one when another completes, ``concurrency`` at a time. A
    ``trace`` says all that instead, and the answer's length. ``correlation`` ties what the agents
    write for one request: it is that of the normals behind any two of their lengths.
    """

    requests: Count = 100
    seed: Annotated[int, Field(ge=0)] = 0
    query_tokens: Length = 256
    output_tokens: dict[str, Length] = {}
    correlation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ends_with: Literal["stop", "length"] = "length"
    concurrency: Count = 1
    rate_per_s: Annotated[float, Field(gt=0)] | None = None
    burstiness: Annotated[float, Field(gt=0)] = 1.0
    trace: RequestTraceSpec | None = None

    @model_validator(mode="after")
    def _check_trace(self) -> Self:
        for key, what in TRACED.items():
            if self.trace and key in self.model_fields_set:
                raise ValueError(f"{key} must not be given beside a trace, which says {what}")
        return self

    @property
    def traced_requests(self) -> int | None:
        """At most so many requests of the trace; None where nothing limits them."""
        given = [self.requests] if "requests" in self.model_fields_set else []
        limits = [self.trace.limit] if self.trace and self.trace.limit else []
        return min(given + limits, default=None)


class RequestsSpec(Strict):
    """``dataset``: ``embedded``, or a JSON-lines file beside the scenario."""

    dataset: str = "embedded"
    count: Count = 24
    seed: int = 0


class ProfileSpec(Strict):
    """Where profiles lie (made by ``staircase profile`` if absent) and how they are measured."""

    latency: str | None = None
    quality: str | None = None
    requests: Count = 48
    read_levels: list[Annotated[int, Field(ge=0)]] = [0, 4, 8, 16, 24, 32, 48, 64, 96]
    max_prompt_tokens: Count = 512


class BaselineSpec(Strict):
    """The paper's default: a first chunk, then a constant one; the later sizes are assumptions."""

    first: Count = 8
    chunk: Count = 16
    write: Count = 16


class PlanSpec(Strict):
    """The search: its space, its effort, and what is good enough."""

    trials: Count = 150
    seed: int = 0
    requests: Count = 24
    layouts: list[Layout] = list(LAYOUTS)
    first: list[Count] = [4, 8, 12, 16, 24, 32, 48, 64]
    chunk: list[Count] = [4, 8, 12, 16, 24, 32, 48, 64]
    write: list[Count] = [2, 4, 8, 12, 16, 24, 32]
    ratio: list[Annotated[float, Field(ge=LEAST_RATIO)]] = [1.5, 2.0, 3.0]
    paper_default: BaselineSpec = BaselineSpec()
    min_quality: Annotated[float, Field(ge=0, le=1)] = 0.95
    max_stall_s: Annotated[float, Field(ge=0)] | None = None
    reading_rate: Annotated[float, Field(gt=0)] = 10.0
    validated_front: Annotated[int, Field(ge=0)] = 5


def _kind(engine: Any) -> str:
    default = "transformers"
    if isinstance(engine, Mapping):
        return str(engine.get("kind", default))
    return str(getattr(engine, "kind", default))


AnySimulatedSpec = SimulatedSpec | EndpointSpec

AnyEngine = Annotated[
    Annotated[EngineSpec, Tag("transformers")]
    | Annotated[SimulatedSpec, Tag("simulated")]
    | Annotated[EndpointSpec, Tag("endpoint")]
    | Annotated[OpenAISpec, Tag("openai")],
    Discriminator(_kind),
]


class Scenario(Strict):
    name: str
    pipeline: PipelineSpec
    engines: dict[str, AnyEngine]
    workload: WorkloadSpec | None = None
    requests: RequestsSpec = RequestsSpec()
    profile: ProfileSpec = ProfileSpec()
    plan: PlanSpec = PlanSpec()

    @model_validator(mode="after")
    def _check_engines(self) -> Self:
        for agent in self.pipeline.build():
            if agent.engine not in self.engines:
                raise ValueError(
                    f"engines: agent {agent.name!r} runs on {agent.engine!r}, which is not defined"
                )
        return self

    @model_validator(mode="after")
    def _check_kinds(self) -> Self:
        for name in self.remote:
            for other in self.simulated:
                raise ValueError(
                    f"engines: {name!r} is behind a server and {other!r} simulated: "
                    "make all of them one or the other"
                )
        return self

    @model_validator(mode="after")
    def _check_workload(self) -> Self:
        if self.workload is None:
            if self.simulated:
                raise ValueError(
                    "workload: simulated engines need one, with output_tokens by agent"
                )
            return self
        self._check_lengths(self.workload, self.pipeline.build())
        return self

    @staticmethod
    def _check_lengths(workload: WorkloadSpec, pipeline: Pipeline) -> None:
        names = [agent.name for agent in pipeline]
        for name in workload.output_tokens:
            if name not in names:
                raise ValueError(f"workload.output_tokens: {name!r} is no agent")
        if workload.trace and pipeline.answer in workload.output_tokens:
            raise ValueError(
                f"workload.output_tokens: {pipeline.answer!r} must not be given beside a trace, "
                "which says how long the answer is"
            )
        if workload.trace and workload.trace.format == "own":
            return  # It may say what every agent writes, which is known when it is read.
        said = [*workload.output_tokens, *([pipeline.answer] if workload.trace else [])]
        for name in names:
            if name not in said:
                raise ValueError(f"workload.output_tokens: does not say how much {name!r} writes")

    @model_validator(mode="after")
    def _check_priorities(self) -> Self:
        names = [agent.name for agent in self.pipeline.build()]
        for engine, spec in self.engines.items():
            for agent in spec.priorities if isinstance(spec, SimulatedSpec) else ():
                if agent not in names:
                    raise ValueError(f"engines.{engine}.priorities: {agent!r} is no agent")
        return self

    @property
    def simulated(self) -> dict[str, AnySimulatedSpec]:
        """The engines that only the simulator plays, endpoints among them."""
        return {n: e for n, e in self.engines.items() if isinstance(e, AnySimulatedSpec)}

    @property
    def real(self) -> dict[str, EngineSpec]:
        """The engines that run in this process."""
        return {n: e for n, e in self.engines.items() if isinstance(e, EngineSpec)}

    @property
    def remote(self) -> dict[str, OpenAISpec]:
        """The engines behind servers."""
        return {n: e for n, e in self.engines.items() if isinstance(e, OpenAISpec)}


def load_scenario(path: Path) -> Scenario:
    """The scenario in ``path``.

    Raises:
        ScenarioError: one line with file, key and what would be right.
    """
    text = read_text(path, ScenarioError, "a scenario file (YAML)")
    try:
        return Scenario.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "not readable"
        raise ScenarioError(f"{path}{line}: not YAML ({problem})") from None
    except ValidationError as error:
        raise ScenarioError(f"{path}: {first_error(error)}") from None
    except PipelineError as error:
        raise ScenarioError(f"{path}: pipeline: {error}") from None
