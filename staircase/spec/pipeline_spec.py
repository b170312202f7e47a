"""The ``pipeline`` of a scenario file: who works on an answer, and who reads whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from staircase.bounds import MOST_AGENTS, MOST_ROUNDS, MOST_SAMPLES, MOST_TOKENS
from staircase.errors import PipelineError
from staircase.pipeline import (
    Agent,
    Arrival,
    Fork,
    Pipeline,
    Thinking,
    chain,
    debate,
    moa,
    single,
)
from staircase.spec.branches import Branches
from staircase.spec.strict import Rate, Strict, Tokens, TokensFrom0
from staircase.votes import Vote

Tag = Annotated[str, Field(min_length=1)]


class ThinkingSpec(Strict):
    """How an agent thinks before it writes.

    A thought has at most ``budget`` tokens, which come on top of ``max_tokens``, and stands between
    ``tags`` if it is part of the text. ``enabled`` is what the chat template is told.
    """

    budget: TokensFrom0 | None = None
    enabled: bool | None = None
    tags: Annotated[list[Tag], Field(min_length=2, max_length=2)] = list(Thinking.tags)

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        for key in ("budget", "tags"):
            if self.enabled is False and key in self.model_fields_set:
                raise ValueError(f"{key} has no effect beside enabled: false; take it away")
        return self

    @field_validator("tags")
    @classmethod
    def _check_tags(cls, value: list[str]) -> list[str]:
        if any(tag != tag.strip() for tag in value):
            raise ValueError("must have no space around them, as ['<think>', '</think>']")
        return value

    def build(self) -> Thinking:
        return Thinking(self.budget, self.enabled, (self.tags[0], self.tags[1]))


class DiscardSpec(Strict):
    """Texts that cast no ballot: longer ones, and those in which ``matches`` is found."""

    over_tokens: Tokens | None = None
    matches: str = ""


class VoteSpec(Strict):
    """How ballots are found: ``answer`` is a regular expression, of which a text's last match
    counts, and of that the first group."""

    answer: str = ""
    discard: DiscardSpec = DiscardSpec()

    @model_validator(mode="after")
    def _check_patterns(self) -> Self:
        try:
            self.build()
        except PipelineError as error:
            raise ValueError(str(error)) from None
        return self

    def build(self) -> Vote:
        return Vote(self.answer, self.discard.over_tokens, self.discard.matches)


# That an agent can have only in a pipeline drawn agent by agent.
OF_BRANCHES = ("for_each", "branches", "sees", "starts_when", "otherwise")
DRAWN = ("reads", "peers", "samples", "vote", "items", *OF_BRANCHES)
# That only a model has.
OF_MODELS = (
    *("engine", "role", "max_tokens", "thinking", "samples", "peers"),
    *("items", *OF_BRANCHES),
)


class AgentSpec(Strict):
    """Details of one agent; ``DRAWN`` only in a pipeline drawn agent by agent.

    ``peers`` are read as well, but not waited for, so that agents may read each other. ``samples``
    makes so many agents NAME.1, NAME.2, … of it; who reads NAME reads them all. One with a ``vote``
    writes nothing, but takes the text of one of those that it reads. Where ``items`` matches, an
    item of the agent's text begins; with ``for_each`` the entry is a template of ``branches``
    agents, each of which an item of that agent's text, or of that input, starts when it is complete
    or has begun, of which it ``sees`` the text up to there or the item alone. If the item never
    comes, ``otherwise`` may start it at the text's end.
    """

    engine: str = ""
    reads: list[str] = []
    peers: list[str] = []
    items: str = ""
    for_each: str = ""
    branches: Annotated[int, Field(ge=1, le=MOST_AGENTS)] | None = None
    sees: Literal["text", "item"] = "text"
    starts_when: Literal["complete", "begun"] = "complete"
    otherwise: Literal["never", "at_end"] = "never"
    role: str = ""
    max_tokens: Tokens = 512
    thinking: ThinkingSpec | None = None
    samples: Annotated[int, Field(ge=1, le=MOST_SAMPLES)] = 1
    vote: VoteSpec | None = None

    @model_validator(mode="after")
    def _check_vote(self) -> Self:
        for key in OF_MODELS:
            if self.vote is not None and key in self.model_fields_set:
                raise ValueError(f"{key} has no effect beside vote, which writes nothing itself")
        return self

    @model_validator(mode="after")
    def _check_branches(self) -> Self:
        if self.for_each and self.samples > 1:
            raise ValueError("samples of branches cannot be said; give samples or for_each")
        if bool(self.for_each) != (self.branches is not None):
            raise ValueError("for_each and branches must be given together")
        for key in ("sees", "starts_when", "otherwise"):
            if key in self.model_fields_set and not self.for_each:
                raise ValueError(f"{key} is of branches; give for_each or take it away")
        if self.otherwise == "at_end" and self.branches != 1:
            raise ValueError("otherwise: at_end would start all whose item lacks; give branches: 1")
        return self

    @property
    def thinks(self) -> Thinking | None:
        return self.thinking.build() if self.thinking else None


class MoaSpec(Strict):
    layers: list[list[str]]
    answer: str = "aggregator"


class DebateSpec(Strict):
    debaters: list[str]
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)]
    answer: str = "judge"


class InputSpec(Strict):
    """What no model writes and comes on a clock, as a question that is being typed.

    ``segment_tokens`` come together, when the last of them is due. Where ``items`` matches, an item
    begins, which may start an agent.
    """

    tokens_per_s: Rate
    segment_tokens: Tokens = 1
    items: str = ""

    def build(self, name: str) -> Agent:
        # Nobody cuts an input short.
        arrival = Arrival(self.tokens_per_s, self.segment_tokens)
        return Agent(name, max_tokens=MOST_TOKENS, arrival=arrival, items=self.items)


class PipelineSpec(Strict):
    """One of ``moa``, ``debate``, ``chain``, ``single``, or ``agents`` with their ``reads``.

    ``inputs`` are read like agents: in a drawn pipeline by all who read nobody else, else by those
    who name them.
    """

    moa: MoaSpec | None = None
    debate: DebateSpec | None = None
    chain: list[str] | None = None
    single: str | None = None
    agents: dict[str, AgentSpec] = {}
    answer: str | None = None
    inputs: dict[str, InputSpec] = {}

    @model_validator(mode="after")
    def _check_inputs(self) -> Self:
        started_by = {spec.for_each for spec in self.agents.values()}
        for name, spec in self.inputs.items():
            if name in self.agents:
                raise ValueError(f"inputs.{name}: there is an agent of that name")
            if spec.items and name not in started_by:
                raise ValueError(
                    f"inputs.{name}.items: start nobody; give an agent for_each: {name}"
                )
        return self

    def build(self) -> Pipeline:
        drawn = self._drawn()
        if drawn is None:
            branches = Branches(self.agents, {name: one.items for name, one in self.inputs.items()})
            answer = branches.only(self.answer or "")
            return Pipeline((*self._inputs, *self._expanded(branches)), answer)
        for name, spec in self.agents.items():
            if name not in [agent.name for agent in drawn]:
                raise PipelineError(f"pipeline.agents.{name}: no such agent in the drawn pipeline")
            for key in DRAWN:
                if key in spec.model_fields_set:
                    raise PipelineError(
                        f"pipeline.agents.{name}.{key}: the drawn pipeline says this; give agents "
                        "and answer alone"
                    )
        detailed = [self._detailed(agent) for agent in drawn]
        reading = [one if one.reads else replace(one, reads=tuple(self.inputs)) for one in detailed]
        return replace(drawn, agents=(*self._inputs, *reading))

    def _expanded(self, branches: Branches) -> Iterator[Agent]:
        for entry, spec in self.agents.items():
            for name, start in branches.forks(entry).items():
                fork = None
                if start:
                    fork = Fork(*start, spec.sees, spec.starts_when, spec.otherwise)
                yield _agent(entry, name, spec, fork, branches)

    @property
    def _inputs(self) -> list[Agent]:
        return [spec.build(name) for name, spec in self.inputs.items()]

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
            agent,
            engine=spec.engine or agent.engine,
            role=spec.role,
            max_tokens=spec.max_tokens,
            thinking=spec.thinks,
        )


def _agent(entry: str, name: str, spec: AgentSpec, fork: Fork | None, branches: Branches) -> Agent:
    """The one called ``name`` of those that ``entry`` stands for."""
    first = [fork.source] if fork and spec.for_each not in spec.reads else []
    reads, peers = (branches.all_of(some, but=name) for some in (spec.reads, spec.peers))
    if spec.vote is not None:
        return Agent(name, reads=tuple(reads), max_tokens=MOST_TOKENS, vote=spec.vote.build())
    return Agent(
        name,
        spec.engine or entry,
        tuple(dict.fromkeys([*first, *reads, *peers])),
        spec.role,
        spec.max_tokens,
        spec.thinks,
        peers=tuple(peers),
        items=spec.items,
        fork=fork,
        template=entry,
    )
