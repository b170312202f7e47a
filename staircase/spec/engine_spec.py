"""Real engines of a scenario file: in this process, or behind a server."""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from staircase.bounds import (
    MOST,
    MOST_BATCHED_TOKENS,
    MOST_GUESSED,
    MOST_NGRAM,
    MOST_SEQUENCES,
    MOST_SLOTS,
    MOST_TEMPERATURE,
    MOST_THREADS,
    MOST_TRIES,
)
from staircase.spec.strict import Count, PositiveSeconds, Seed, Strict, Tokens

TEMPLATE_FIELDS = {"header": {"role"}, "query": {"query"}, "label": {"source"}}


class FormatSpec(Strict):
    """Templates of the prompt texts that do not grow; ``{role}``, ``{query}``, ``{source}``.

    ``turn`` stands between own text and more of the sources where texts are interleaved.
    """

    header: str = "{role}\n\n"
    query: str = "{query}\n\n"
    label: str = "\n\n{source}:\n"
    own: str = "\n\nAnswer:\n"
    turn: str = ""

    @field_validator("header", "query", "label")
    @classmethod
    def _check_fields(cls, value: str, info: ValidationInfo) -> str:
        named = TEMPLATE_FIELDS[str(info.field_name)]
        try:
            found = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        except ValueError as error:
            raise ValueError(f"{error}; a brace that is text is written twice") from None
        for name in found - named:
            raise ValueError(f"{{{name}}} is not known here, only {{{min(named)}}}")
        return value


def _kind_of_format(value: object) -> str | None:
    if isinstance(value, dict | FormatSpec):
        return "templates"
    return "name" if value in ("auto", "plain") else None


# How a server is told what a text will probably be: as OpenAI's predicted output, of which it makes
# what it likes; or by having it score the text, as vLLM does and as SGLang does.
ServerGuesses = Literal["prediction", "prompt_logprobs", "generate"]

# The chat template of the model's tokenizer if there is one; plain texts; templates.
Format = Annotated[
    Annotated[Literal["auto", "plain"], Tag("name")] | Annotated[FormatSpec, Tag("templates")],
    Discriminator(
        _kind_of_format,
        custom_error_type="format",
        custom_error_message="must be auto, plain, or templates, as {own: 'Answer: '}",
    ),
]


class SamplingSpec(Strict):
    """How an engine's tokens are chosen: greedily at temperature 0, else drawn.

    Only among the ``top_k`` likeliest tokens, and of these among the fewest likeliest ones whose
    probabilities sum up to ``top_p``. The same ``seed`` draws the same.
    """

    temperature: Annotated[float, Field(ge=0, le=MOST_TEMPERATURE)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Count | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_temperature(self) -> Self:
        for name in ("top_p", "top_k", "seed"):
            if self.temperature == 0 and name in self.model_fields_set:
                raise ValueError(f"{name} needs a temperature above 0; at 0 nothing is drawn")
        return self


class PromptLookupSpec(Strict):
    """At most ``tokens`` are guessed, as they followed where the text's last ``ngram`` stood.

    The longest n-gram counts that is found, of ``min_ngram`` tokens or more; without the key only
    those of ``ngram``.
    """

    tokens: Annotated[int, Field(ge=1, le=MOST_GUESSED)] = 12
    ngram: Annotated[int, Field(ge=1, le=MOST_NGRAM)] = 3
    min_ngram: Annotated[int, Field(ge=1, le=MOST_NGRAM)] | None = None

    @model_validator(mode="after")
    def _check_ngrams(self) -> Self:
        if self.min_ngram and self.min_ngram > self.ngram:
            raise ValueError(f"min_ngram must not be above ngram, {self.ngram}")
        return self

    def __str__(self) -> str:
        least = self.min_ngram or self.ngram
        looked_up = f"{least} to {self.ngram}" if least < self.ngram else str(self.ngram)
        return f"{self.tokens} after the last {looked_up}"


def _lookup(value: object) -> object:
    """``true`` for the defaults, ``false`` for none."""
    if isinstance(value, bool):
        return PromptLookupSpec() if value else None
    return value


class EngineSpec(SamplingSpec):
    """A transformers engine of our own, in turn with others on its device.

    The device ``cpu`` is this process; ``cpu:0``, ``cpu:1``, … are processes of their own, each
    with cores of its own. ``threads`` compute a forward pass on a CPU; None: as many as are fast
    for the model's size.

    It serves one call at a time, or with more ``slots`` as many at once, computing at most
    ``max_num_batched_tokens`` in an iteration. ``weights: dummy`` are random ones for the model's
    config.json, which need no other file: right for latency, nonsense as text.

    With ``prompt_lookup`` it guesses how texts go on by what stands in their prompts, which changes
    no text in single precision.
    """

    kind: Literal["transformers"] = "transformers"
    model: str
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    weights: Literal["file", "dummy"] = "file"
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None
    slots: Annotated[int, Field(ge=1, le=MOST_SLOTS)] = 1
    max_num_batched_tokens: Annotated[int, Field(ge=1, le=MOST_BATCHED_TOKENS)] = 2048
    prompt_lookup: Annotated[PromptLookupSpec | None, BeforeValidator(_lookup)] = None
    format: Format = "auto"

    @model_validator(mode="after")
    def _check_slots(self) -> Self:
        if self.slots == 1 and "max_num_batched_tokens" in self.model_fields_set:
            raise ValueError("max_num_batched_tokens needs more than one of slots")
        if self.max_num_batched_tokens < self.slots:
            raise ValueError(f"max_num_batched_tokens must not be below slots, {self.slots}")
        return self

    @model_validator(mode="after")
    def _check_threads(self) -> Self:
        if self.threads and not self.device.startswith("cpu"):
            raise ValueError(f"threads are those of a CPU, the engine is on {self.device!r}")
        return self

    @property
    def core(self) -> int | None:
        """N of the device ``cpu:N``, whose process is its own; None of any other."""
        named = re.fullmatch(r"cpu:(\d+)", self.device)
        return int(named[1]) if named else None

    @property
    def place(self) -> str:
        """The device by one name: ``cuda`` is ``cuda:0``; engines of one place share it in turn."""
        if self.core is not None:
            return f"cpu:{self.core}"
        return self.device if self.device == "cpu" or ":" in self.device else f"{self.device}:0"

    @property
    def torch_device(self) -> str:
        """As torch calls it in the process where the engine runs."""
        return self.device if self.core is None else "cpu"


class ServerSpec(SamplingSpec):
    """A model behind an OpenAI-compatible server, whose ``base_url`` mostly ends in ``/v1``.

    The key is read from the environment variable ``api_key_env`` and is nowhere else. ``timeout_s``
    passes at most without news of a call; before its first token a call is sent up to ``tries``
    times. ``priority`` and ``seed`` are sent where the server takes them. ``ca_file`` holds the
    certificates (PEM) that are trusted, in place of those that the environment names.
    """

    base_url: str
    model: str
    api: Literal["auto", "completions", "chat"] = "auto"
    api_key_env: str | None = None
    ca_file: str | None = None
    timeout_s: PositiveSeconds = 60.0
    connect_timeout_s: PositiveSeconds = 5.0
    tries: Annotated[int, Field(ge=1, le=MOST_TRIES)] = 3
    max_concurrency: Annotated[int, Field(ge=1, le=MOST_SEQUENCES)] = 64
    priority: Annotated[int, Field(ge=-MOST, le=MOST)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _check_lookup(cls, data: Any) -> Any:
        if isinstance(data, dict) and "prompt_lookup" in data:
            raise ValueError(
                "prompt_lookup is for engines in this process; a server does it itself, as vLLM "
                'with --speculative-config \'{"method": "ngram", …}\''
            )
        return data

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        wrong = "must be a URL such as http://127.0.0.1:8000/v1"
        try:
            parts = urlsplit(value)
            is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            raise ValueError(wrong) from None
        if not is_url:
            raise ValueError(wrong)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no name, password or query; a key goes by api_key_env")
        return value

    @model_validator(mode="after")
    def _check_ca_file(self) -> Self:
        if self.ca_file is not None and not self.base_url.startswith("https:"):
            raise ValueError("ca_file needs a base_url of https; http has no certificates")
        return self

    @field_validator("api_key_env")
    @classmethod
    def _check_variable(cls, value: str | None) -> str | None:
        # Not repeated: who errs here may have written the key itself.
        if value is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            raise ValueError("must be the name of an environment variable, not a key")
        return value


class OpenAISpec(ServerSpec):
    """An engine behind a server.

    ``tokenizer`` is the model's folder, hub id or an embedded model's name; with it tokens are
    counted as the model counts them, and go over the wire as ids where the server takes and returns
    them. ``scored_by`` is a model on this machine with the server's weights, as ``model`` of an
    engine of our own: it says how probable texts are, which most servers do not. ``guesses`` says
    how the server is told what a text will probably be, as one that is checked is.
    """

    kind: Literal["openai"]
    tokenizer: str | None = None
    scored_by: str | None = None
    guesses: ServerGuesses | None = None
    format: Format = "auto"

    @model_validator(mode="after")
    def _check_guesses(self) -> Self:
        if self.guesses is None or self.guesses == "prediction":
            return self
        said = f"guesses: {self.guesses}"
        if self.temperature:
            raise ValueError(f"{said} tells greedy text only; temperature must be 0")
        if self.tokenizer is None:
            raise ValueError(f"{said} compares token ids; give the model's tokenizer")
        if self.api == "chat":
            raise ValueError(f"{said} needs prompts of token ids; api must be completions")
        return self


class JudgeSpec(ServerSpec):
    """The model that compares answers (``staircase judge``)."""

    api: Literal["auto", "completions", "chat"] = "chat"
    max_concurrency: Annotated[int, Field(ge=1, le=MOST_SEQUENCES)] = 8
    max_tokens: Tokens = 2048
