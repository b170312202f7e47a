"""The ``workload`` of a scenario file: requests as lengths, for simulated engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from staircase.bounds import (
    LEAST_BURSTINESS,
    LEAST_SPEED,
    MOST_BURSTINESS,
    MOST_SIGMA,
    MOST_SPEED,
    MOST_TOKENS,
)
from staircase.request_trace import TraceFormat
from staircase.spec.strict import Count, Rate, Seed, Strict, Tokens, TokensFrom0


class LogNormalSpec(Strict):
    """Lengths with this mean; ``sigma`` is the standard deviation of their logarithm."""

    mean: Annotated[float, Field(ge=1, le=MOST_TOKENS)]
    sigma: Annotated[float, Field(gt=0, le=MOST_SIGMA)]


class ValuesSpec(Strict):
    """Lengths drawn from these, each as likely as the others."""

    values: Annotated[list[TokensFrom0], Field(min_length=1)]


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
    Annotated[Tokens, Tag("number")]
    | Annotated[LogNormalSpec, Tag("lognormal")]
    | Annotated[ValuesSpec, Tag("values")]
    | Annotated[LengthFileSpec, Tag("file")],
    Discriminator(_length_kind),
]


class ItemsSpec(Strict):
    """How many items a text has; they share its tokens, without the ``before`` first ones.

    They are as long as each other but for ``sigma``, the standard deviation of the logarithm. Or it
    has one, which is what is written first after so many tokens of its sources were ``read``.
    """

    count: Length | None = None
    before: Length | None = None
    sigma: Annotated[float, Field(ge=0, le=MOST_SIGMA)] = 0.0
    read: Length | None = None

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        if (self.count is None) == (self.read is None):
            raise ValueError("give count, or read, how much is read when the only item begins")
        for key in ("before", "sigma"):
            if self.read is not None and key in self.model_fields_set:
                raise ValueError(f"{key} has no effect beside read, which says where the item is")
        return self


class RequestTraceSpec(Strict):
    """Requests as they once arrived: the first ``limit`` of ``file``, ``speed`` times as fast."""

    file: str
    format: TraceFormat
    limit: Count | None = None
    speed: Annotated[float, Field(ge=LEAST_SPEED, le=MOST_SPEED)] = 1.0


class PromptsSpec(Strict):
    """What queries have in common: ``system_tokens`` before each, and what is asked again.

    Each request asks one of ``distinct`` queries, whose lengths are ``query_tokens``; without that,
    each asks another.
    """

    distinct: Count | None = None
    system_tokens: TokensFrom0 = 0

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        if self.distinct is None and not self.system_tokens:
            raise ValueError("give distinct, system_tokens or both")
        return self


class UpdatesSpec(Strict):
    """How an input replaces part of what it said: of its segments after the first, ``share`` come
    with other words in place of the last ``tokens`` that were there."""

    share: Annotated[float, Field(ge=0, le=1)]
    tokens: Length


class BallotsSpec(Strict):
    """What the texts of an agent are for on which somebody votes: the share ``flagged`` is for
    nothing, of the rest the share ``right`` for the right answer, and the others for one of
    ``wrong_answers``, each as likely as the others."""

    right: Annotated[float, Field(ge=0, le=1)]
    wrong_answers: Count = 1
    flagged: Annotated[float, Field(ge=0, le=1)] = 0.0


# What a trace says, by the keys that would say it too.
TRACED = {
    "rate_per_s": "when requests arrive",
    "burstiness": "when requests arrive",
    "concurrency": "when requests arrive",
    "query_tokens": "how long queries are",
    "prompts": "what queries have in common",
}


class WorkloadSpec(Strict):
    """Requests as lengths, for simulated engines.

    ``query_tokens`` is the user's query, ``output_tokens`` what each agent writes, and
    ``thinking_tokens`` what some think before; ``ballots`` says how often those are right on whom
    somebody votes, ``updates`` how inputs replace what they said, ``items`` what texts consist of
    whose items start branches, ``acceptance`` with what probability a token stands when it is
    checked. The name of samples or branches stands for each of them. Requests
    arrive at ``rate_per_s`` (Poisson; ``burstiness`` above 1 makes the gaps gamma with that
    coefficient of variation), or, without a rate, one when another completes, ``concurrency`` at a
    time. A ``trace`` says all that instead, and the answer's length. ``correlation`` ties what the
    agents write for one request: it is that of the normals behind any two of their lengths.
    """

    requests: Count = 100
    seed: Seed = 0
    query_tokens: Length = 256
    prompts: PromptsSpec | None = None
    output_tokens: dict[str, Length] = {}
    thinking_tokens: dict[str, Length] = {}
    ballots: dict[str, BallotsSpec] = {}
    updates: dict[str, UpdatesSpec] = {}
    items: dict[str, ItemsSpec] = {}
    acceptance: Annotated[float, Field(ge=0, le=1)] | None = None
    correlation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ends_with: Literal["stop", "length"] = "length"
    concurrency: Count = 1
    rate_per_s: Rate | None = None
    burstiness: Annotated[float, Field(ge=LEAST_BURSTINESS, le=MOST_BURSTINESS)] = 1.0
    trace: RequestTraceSpec | None = None

    @model_validator(mode="after")
    def _check_trace(self) -> Self:
        for key, what in TRACED.items():
            if self.trace and key in self.model_fields_set:
                raise ValueError(f"{key} must not be given beside a trace, which says {what}")
        return self

    @model_validator(mode="after")
    def _check_arrivals(self) -> Self:
        """Requests arrive in one way, and nothing is given of the other."""
        given = self.model_fields_set
        if self.rate_per_s is None and "burstiness" in given and not self.trace:
            raise ValueError("burstiness needs a rate_per_s")
        if self.rate_per_s is not None and "concurrency" in given:
            raise ValueError("concurrency must not be given beside rate_per_s; give one of them")
        return self

    @property
    def traced_requests(self) -> int | None:
        """At most so many requests of the trace; None where nothing limits them."""
        given = [self.requests] if "requests" in self.model_fields_set else []
        limits = [self.trace.limit] if self.trace and self.trace.limit else []
        return min(given + limits, default=None)
