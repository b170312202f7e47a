"""``run.yaml``: one's own recorded run, as a file (docs/simulator.md has an example)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from benchmarks.referee.recorded import METRICS, STATISTICS, Figure
from staircase.bounds import LEAST_BURSTINESS, MOST_BURSTINESS, MOST_DEVICES, MOST_FIGURE
from staircase.spec.strict import Count, Rate, Seconds, Seed, Strict, TokensFrom0
from staircase.spec.workload_spec import Length, PromptsSpec

UNITS = {"s": 1.0, "ms": 1e-3}
Time = Annotated[float, Field(gt=0, le=MOST_FIGURE)]
Metric = Literal["ttft", "tpot", "itl", "e2e"]
# Of a mean: -0.04 is 4 % too low.
PublishedError = Annotated[float, Field(ge=-1, le=MOST_FIGURE)]
# That says what a stage's file would say.
OF_LENGTHS = ("query_tokens", "output_tokens", "requests", "measured")
ARRIVALS = ("rate_per_s", "concurrency")


class FiguresSpec(Strict):
    """Mean and percentiles of one metric over a stage's requests."""

    mean: Time | None = None
    p50: Time | None = None
    p90: Time | None = None
    p95: Time | None = None
    p99: Time | None = None

    @model_validator(mode="after")
    def _check_some(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(f"give some of {', '.join(STATISTICS)}")
        return self


class TimesSpec(Strict):
    """Metrics in seconds or in milliseconds, as vLLM's ``bench serve`` defines them."""

    ttft_s: FiguresSpec | None = None
    ttft_ms: FiguresSpec | None = None
    tpot_s: FiguresSpec | None = None
    tpot_ms: FiguresSpec | None = None
    itl_s: FiguresSpec | None = None
    itl_ms: FiguresSpec | None = None
    e2e_s: FiguresSpec | None = None
    e2e_ms: FiguresSpec | None = None

    @model_validator(mode="after")
    def _check_units(self) -> Self:
        for name in METRICS:
            word = name.removesuffix("_s")
            if getattr(self, f"{word}_s") and getattr(self, f"{word}_ms"):
                raise ValueError(f"give {word}_s or {word}_ms, not both")
        return self

    @property
    def figures(self) -> dict[Figure, float]:
        """In seconds."""
        return {
            Figure(name, statistic): value * factor
            for name in METRICS
            for unit, factor in UNITS.items()
            for statistic, value in self._given(f"{name.removesuffix('_s')}_{unit}").items()
        }

    def _given(self, key: str) -> Mapping[str, float]:
        figures: FiguresSpec | None = getattr(self, key)
        return figures.model_dump(exclude_none=True) if figures else {}


class MeasuredSpec(TimesSpec):
    @model_validator(mode="after")
    def _check_some(self) -> Self:
        if not self.figures:
            raise ValueError("give some of ttft_s, tpot_s, itl_s, e2e_s, or each with _ms")
        return self


class PeerSpec(TimesSpec):
    """What somebody else forecast, or by how much the means of their forecast were off."""

    error: dict[Metric, PublishedError] | None = None


class StageSpec(Strict):
    """Requests that were asked in one way.

    Either ``file`` holds each request, and ``system_tokens`` say with how many tokens all of its
    prompts begin. Or lengths, arrivals and common prompts are drawn as in a scenario's
    ``workload``, and ``measured`` is what was seen.
    """

    name: str | None = None
    file: str | None = None
    system_tokens: TokensFrom0 = 0
    requests: Count | None = None
    rate_per_s: Rate | None = None
    burstiness: Annotated[float, Field(ge=LEAST_BURSTINESS, le=MOST_BURSTINESS)] = 1.0
    concurrency: Count | None = None
    query_tokens: Length | None = None
    output_tokens: Length | None = None
    prompts: PromptsSpec | None = None
    ends_with: Literal["stop", "length"] = "length"
    seed: Seed = 0
    measured: MeasuredSpec | None = None
    peers: dict[str, PeerSpec] | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        given = self.model_fields_set
        if self.file is None:
            self._check_lengths(given)
            return self
        for key in sorted(given - {"name", "file", "system_tokens", "peers"}):
            raise ValueError(f"{key} must not be given beside file, which says it")
        return self

    def _check_lengths(self, given: set[str]) -> None:
        for key in OF_LENGTHS:
            if getattr(self, key) is None:
                raise ValueError(f"{key} is missing: give file, or {', '.join(OF_LENGTHS)}")
        if "system_tokens" in given:
            raise ValueError("system_tokens needs a file; give prompts.system_tokens")
        if len([key for key in ARRIVALS if getattr(self, key)]) != 1:
            raise ValueError("give rate_per_s or concurrency")
        if "burstiness" in given and not self.rate_per_s:
            raise ValueError("burstiness needs a rate_per_s")


class RunSpec(Strict):
    """A model on its devices, the engine that served it, and what that was asked.

    Attributes:
        model: a known one, or the path of a config.json.
        precision: of the weights; other than 16 bits where ``model`` is a config.json that says
            so, or ``kernels`` were measured so.
        kernels: a folder of kernel times in LLMServingSim's or Vidur's format; without it a
            roofline says what iterations cost.
        arguments: of the engine, by its own names (``benchmarks.referee.engine_arguments``).
        published: by whom, errors of means over all stages.
        source: who measured it.
    """

    model: str
    hardware: str
    engine: Literal["vllm", "sglang", "tensorrt-llm"]
    version: str
    arguments: dict[str, Any]
    stages: Annotated[list[StageSpec], Field(min_length=1)]
    tensor_parallel: Annotated[int, Field(ge=1, le=MOST_DEVICES)] = 1
    data_parallel: Annotated[int, Field(ge=1, le=MOST_DEVICES)] = 1
    expert_parallel: bool = False
    precision: Literal["bf16", "fp16", "fp8", "int8", "int4", "fp4"] = "bf16"
    kernels: str | None = None
    link_gb_per_s: Rate | None = None
    link_latency_s: Seconds | None = None
    published: dict[str, dict[Metric, PublishedError]] | None = None
    source: str = ""

    @model_validator(mode="after")
    def _check_kernels(self) -> Self:
        for key in ("link_gb_per_s", "link_latency_s", "data_parallel", "expert_parallel"):
            if key in self.model_fields_set and self.kernels is None:
                raise ValueError(f"{key} needs kernels; a roofline says nothing of it")
        return self
