"""Scenario files: one YAML file that says what to profile, plan and validate."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from staircase.bounds import MOST_SLOTS
from staircase.errors import PipelineError, ScenarioError
from staircase.files import first_error
from staircase.pipeline import Pipeline
from staircase.spec.engine_spec import EngineSpec, JudgeSpec, OpenAISpec
from staircase.spec.pipeline_spec import PipelineSpec
from staircase.spec.plan_spec import PlanSpec
from staircase.spec.serve_spec import ServeSpec
from staircase.spec.simulated_spec import AnySimulatedSpec, EndpointSpec, SimulatedSpec
from staircase.spec.strict import (
    Count,
    CountFrom0,
    FolderName,
    PositiveSeconds,
    Seed,
    Strict,
    Tokens,
    TokensFrom0,
)
from staircase.spec.workload_spec import WorkloadSpec
from staircase.spec.yaml_file import read_yaml

EMBEDDED = ("embedded", "embedded-hard")
SCORES = ("exact_match", "f1", "field_accuracy")
LIKELIHOOD_BY = "requests.likelihood_by"


class RequestsSpec(Strict):
    """What is asked, and how answers are scored.

    ``dataset``: one of ``EMBEDDED``, or a JSON-lines file beside the scenario. ``score``: one of
    ``SCORES`` or the user's own function, ``FILE.py:NAME`` beside the scenario or
    ``MODULE:NAME``; without it ``field_accuracy`` for the embedded tasks and ``exact_match`` else.
    ``retries``: how often a real engine's failed call is started again with the text so far.
    ``likelihood_by``: a model on this machine, as ``model`` of an engine, that is asked how likely
    the answers are.
    """

    dataset: str = "embedded"
    count: Count = 24
    seed: Seed = 0
    score: str | None = None
    retries: CountFrom0 = 0
    likelihood_by: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("score")
    @classmethod
    def _check_score(cls, value: str | None) -> str | None:
        if value is None or value in SCORES or re.fullmatch(r"[^:]+:[A-Za-z_]\w*", value):
            return value
        near = difflib.get_close_matches(value, SCORES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"must be one of {', '.join(SCORES)}"
        raise ValueError(
            f"unknown score {value!r}; {hint}, or your own function as in 'score.py:function'"
        )

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        if self.score == "field_accuracy" and self.dataset not in EMBEDDED:
            raise ValueError(
                "score: field_accuracy needs dataset: embedded; use exact_match, f1 or a function"
            )
        return self


class ProfileSpec(Strict):
    """Where profiles lie (made by ``staircase profile`` if absent) and how they are measured.

    Latency: until its cross-validated error is at most ``target_error`` or ``budget_s`` have passed
    for all engines together, with prompts up to ``max_prompt_tokens`` and up to ``max_batch`` calls
    at once.

    Quality: until the loss is known within ``quality_error`` of itself (half of its 90 % interval),
    or ``requests`` are measured; with ``quality_budget_s`` fewer where so many seconds are short.
    """

    latency: str | None = None
    quality: str | None = None
    requests: Count = 96
    quality_error: Annotated[float, Field(gt=0, lt=1)] = 0.03
    quality_budget_s: PositiveSeconds | None = None
    read_levels: list[TokensFrom0] = [
        *range(0, 32, 4),
        *range(32, 64, 8),
        *range(64, 129, 16),
    ]
    max_prompt_tokens: Tokens = 512
    max_batch: Annotated[int, Field(ge=1, le=MOST_SLOTS)] = 8
    budget_s: PositiveSeconds = 10.0
    target_error: Annotated[float, Field(gt=0, lt=1)] = 0.03


def _kind(engine: Any) -> str:
    default = "transformers"
    if isinstance(engine, Mapping):
        return str(engine.get("kind", default))
    return str(getattr(engine, "kind", default))


AnyEngine = Annotated[
    Annotated[EngineSpec, Tag("transformers")]
    | Annotated[SimulatedSpec, Tag("simulated")]
    | Annotated[EndpointSpec, Tag("endpoint")]
    | Annotated[OpenAISpec, Tag("openai")],
    Discriminator(_kind),
]


class Scenario(Strict):
    """A scenario file.

    ``variants``: by name, what of the file is otherwise there: other engines, placements, proposers
    (``load_variants``).
    """

    name: FolderName
    pipeline: PipelineSpec
    engines: dict[str, AnyEngine]
    workload: WorkloadSpec | None = None
    requests: RequestsSpec = RequestsSpec()
    profile: ProfileSpec = ProfileSpec()
    plan: PlanSpec = PlanSpec()
    judge: JudgeSpec | None = None
    serve: ServeSpec = ServeSpec()
    variants: dict[FolderName, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _check_engines(self) -> Self:
        pipeline = self.pipeline.build()
        for agent in pipeline:
            if agent.engine not in self.engines and agent.has_engine:
                raise ValueError(
                    f"engines: agent {agent.name!r} runs on {agent.engine!r}, which is not defined"
                )
        for one in pipeline.inputs:
            if one.name in self.engines:
                raise ValueError(f"engines.{one.name}: {one.name!r} is an input, which has none")
        for one in pipeline.votes:
            if one.name in self.engines:
                raise ValueError(f"engines.{one.name}: {one.name!r} votes and has none")
        return self

    @model_validator(mode="after")
    def _check_samples(self) -> Self:
        real = {**self.real, **self.remote}
        for agent in self.pipeline.build():
            if agent.is_sample and agent.engine in real and not real[agent.engine].temperature:
                raise ValueError(
                    f"engines.{agent.engine}.temperature: is 0, by which all samples of "
                    f"{agent.template!r} would be the same text; give one above 0"
                )
        return self

    @model_validator(mode="after")
    def _check_votes(self) -> Self:
        if self.pipeline.build().votes:
            return self
        if "at_once" in self.plan.model_fields_set:
            raise ValueError("plan.at_once: nobody votes in this pipeline; take it away")
        for word in self.plan.barrier:
            if word.startswith("ahead"):
                raise ValueError(f"plan.barrier: {word!r}: nobody votes in this pipeline")
        return self

    @model_validator(mode="after")
    def _check_revision(self) -> Self:
        if "revision" not in self.plan.model_fields_set:
            return self
        if not self.pipeline.inputs:
            raise ValueError("plan.revision: this pipeline has no inputs to be replaced")
        if self.workload and not self.workload.updates and self.simulated:
            raise ValueError("plan.revision: nothing is replaced without workload.updates; say it")
        return self

    @model_validator(mode="after")
    def _check_checked(self) -> Self:
        if self.remote and self.plan.checked != [0]:
            raise ValueError(
                "plan.checked: forecasts do not know what a check costs at a server, most would "
                "write again what they are to check; leave it out, or give engines in this process "
                "(where engines.NAME.guesses says how a server checks, run takes --checked)"
            )
        return self

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.plan.has_windows and not self.pipeline.build().inputs:
            raise ValueError(
                "plan.window: is for inputs, and this pipeline has none (pipeline.inputs); take it "
                "away"
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
    def _check_cores(self) -> Self:
        whole = [name for name, spec in self.real.items() if spec.device == "cpu"]
        for name, spec in self.real.items():
            if whole and spec.core is not None:
                raise ValueError(
                    f"engines.{name}.device: {spec.device!r} has cores of its own, and "
                    f"{whole[0]!r} is on 'cpu', which is all of them; give every one a number"
                )
        return self

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        """Nothing is given that would have no effect on simulated engines."""
        if not self.simulated:
            return self
        if "requests" in self.plan.model_fields_set:
            raise ValueError("plan.requests: simulated engines play workload.requests; give that")
        if self.requests.likelihood_by:
            raise ValueError(f"{LIKELIHOOD_BY}: simulated engines write no text; take it away")
        for kind in self.profile.model_fields_set & {"latency", "quality"}:
            raise ValueError(
                f"profile.{kind}: simulated engines have no {kind} profile here; take it away"
            )
        for agent in self.pipeline.build():
            if agent.thinking and agent.engine in self.simulated:
                raise ValueError(
                    f"pipeline.agents.{agent.name}.thinking: simulated engines think as "
                    "workload.thinking_tokens says; give that"
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
        self._check_ballots(self.workload, self.pipeline.build())
        self._check_caches(self.workload)
        return self

    def _check_caches(self, workload: WorkloadSpec) -> None:
        """Whoever says that prompts repeat wants a prefix cache to find them."""
        engines = [spec for spec in self.engines.values() if isinstance(spec, SimulatedSpec)]
        if workload.prompts and not any(spec.caches_prefixes for spec in engines):
            raise ValueError(
                "workload.prompts: no engine has a prefix cache that would find them; give one of "
                "kind: simulated its kv_blocks (prefix_caching needs them)"
            )

    @staticmethod
    def _check_lengths(workload: WorkloadSpec, pipeline: Pipeline) -> None:
        writing = [agent for agent in pipeline if not agent.vote]
        names = {name for agent in writing for name in agent.keys}
        for key in ("output_tokens", "thinking_tokens", "items"):
            for name in getattr(workload, key):
                if name not in names:
                    raise ValueError(f"workload.{key}: {name!r} is no agent")
        for agent in pipeline:
            says_items = not workload.items.keys().isdisjoint(agent.keys)
            if agent.items and not says_items:
                raise ValueError(f"workload.items: does not say how many {agent.name!r} writes")
            if says_items and not agent.items:
                raise ValueError(f"workload.items: items of {agent.name!r} start nobody")
            by_reading = any(spec.read for key, spec in workload.items.items() if key in agent.keys)
            if by_reading and not agent.waits_for:
                raise ValueError(
                    f"workload.items: {agent.name!r} reads nobody in steps; give count, not read"
                )
        for name in workload.updates:
            if name not in [one.name for one in pipeline.inputs]:
                raise ValueError(f"workload.updates: {name!r} is no input (pipeline.inputs)")
        if workload.trace and pipeline.answer in workload.output_tokens:
            raise ValueError(
                f"workload.output_tokens: {pipeline.answer!r} must not be given beside a trace, "
                "which says how long the answer is"
            )
        if workload.trace and workload.trace.format == "own":
            return  # It may say what every agent writes, which is known when it is read.
        said = {*workload.output_tokens, *([pipeline.answer] if workload.trace else [])}
        for agent in writing:
            if said.isdisjoint(agent.keys):
                name = agent.keys[-1]
                raise ValueError(f"workload.output_tokens: does not say how much {name!r} writes")

    @staticmethod
    def _check_ballots(workload: WorkloadSpec, pipeline: Pipeline) -> None:
        asked = [one for one in pipeline if one.has_engine and pipeline.vote_on(one.name)]
        known = {name for agent in asked for name in agent.keys}
        for name in workload.ballots:
            if name not in known:
                raise ValueError(f"workload.ballots: nobody votes on {name!r}")
        for agent in asked:
            if workload.ballots.keys().isdisjoint(agent.keys):
                name = agent.keys[-1]
                raise ValueError(
                    f"workload.ballots: does not say how often {name!r} is right; give "
                    f"{name}: {{right: 0.7}}"
                )
        if workload.trace and pipeline[pipeline.answer].vote:
            raise ValueError(
                "workload.trace: says how long answers are, but the answer of this pipeline is a "
                "vote, which takes another's text; give output_tokens in place of a trace"
            )

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        for name in self.plan.prices:
            if name not in self.engines:
                raise ValueError(f"plan.prices: {name!r} is no engine")
        return self

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

    @property
    def scoring_models(self) -> dict[str, str]:
        """Models on this machine that only score, by the key that names them."""
        named = {scored_by(name): spec.scored_by for name, spec in self.remote.items()}
        named[LIKELIHOOD_BY] = self.requests.likelihood_by
        return {key: model for key, model in named.items() if model}


def scored_by(engine: str) -> str:
    """The key of the model that scores the texts of ``engine``."""
    return f"engines.{engine}.scored_by"


def load_scenario(path: str | Path) -> Scenario:
    """The scenario in ``path``.

    Raises:
        ScenarioError: one line with file, key and what would be right.
    """
    return _scenario(read_yaml(Path(path)), str(path))


def load_variants(path: Path) -> dict[str, Scenario]:
    """The scenario's variants, by name, each as a scenario of its own.

    Mappings are merged with those of the file key by key, null takes a key away, and everything
    else stands in place of what the file says.

    Raises:
        ScenarioError: there is none, or one is wrong: one line with file, variant and key.
    """
    content = read_yaml(path)
    variants = _scenario(content, str(path)).variants
    if not variants:
        raise ScenarioError(f"{path}: has no variants; give some as in examples/placement.yaml")
    plain = {key: value for key, value in content.items() if key != "variants"}
    found = {
        name: _scenario(_merged(plain, changes), f"{path}: variants.{name}")
        for name, changes in variants.items()
    }
    for name, one in found.items():
        if one.variants:
            raise ScenarioError(f"{path}: variants.{name}: variants: a variant has none of its own")
    return found


def _merged(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = {key: value for key, value in content.items() if changes.get(key, 0) is not None}
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(old, value)
        elif value is not None:
            merged[key] = value
    return merged


def _scenario(content: Any, where: str) -> Scenario:
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        raise ScenarioError(f"{where}: {first_error(error)}") from None
    except PipelineError as error:
        raise ScenarioError(f"{where}: pipeline: {error}") from None
