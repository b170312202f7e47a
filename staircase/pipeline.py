"""Pipelines: agents and the streaming edges between them.

A pipeline is a DAG. Mixture-of-Agents, debate, a chain and a single model are the same thing with
other edges; the constructors below only draw them. A source may also be an input that no model
writes and that comes on a clock, as a question that is still being typed. And it may be a peer, for
which nobody waits, so that agents may read each other. An agent that votes writes nothing itself:
its text is that of one whom it reads. And an agent may be a branch: an item of another agent's text
starts it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from staircase.bounds import MOST_SAMPLES
from staircase.errors import PipelineError
from staircase.votes import Vote


@dataclass(frozen=True)
class Thinking:
    """How an agent may think before it writes; its thoughts are neither read nor shown.

    Attributes:
        budget: most tokens of a thought, which come on top of ``max_tokens``; None: whatever the
            engine thinks is enough.
        enabled: what the model's chat template is told; None: nothing.
        tags: around a thought, where it is part of the text.
    """

    budget: int | None = None
    enabled: bool | None = None
    tags: tuple[str, str] = ("<think>", "</think>")


@dataclass(frozen=True)
class Arrival:
    """How an input comes, from the moment at which its request does.

    Attributes:
        tokens_per_s: None: all of it is there at once.
        segment_tokens: so many come together, as a sentence or a frame does, when the last of them
            is due; what is left at the end comes by itself.
    """

    tokens_per_s: float | None = None
    segment_tokens: int = 1

    def __post_init__(self) -> None:
        if self.tokens_per_s is not None and not self.tokens_per_s > 0:
            raise PipelineError(f"tokens_per_s is {self.tokens_per_s}, must be above 0")
        if self.segment_tokens < 1:
            raise PipelineError(f"segment_tokens is {self.segment_tokens}, must be 1 or more")

    def last_of_segment(self, token: int, tokens: int) -> int:
        """The token with which number ``token`` comes, both from 1, of a text of ``tokens``."""
        return min(-(-token // self.segment_tokens) * self.segment_tokens, tokens)

    def seconds(self, token: int) -> float:
        """From the request's coming to when token number ``token`` is due."""
        return token / self.tokens_per_s if self.tokens_per_s else 0.0


@dataclass(frozen=True)
class Fork:
    """What starts a branch: an item of another agent's text.

    Attributes:
        item: from 1. It is complete when the next one begins, or the text ends.
        sees: the source's ``text`` up to where the branch starts, or of that the ``item`` alone.
        starts_when: the item is ``complete``, or is seen to have ``begun``.
        otherwise: if the item never comes, the branch starts ``never``, or ``at_end`` of the text.
    """

    source: str
    item: int
    sees: Literal["text", "item"] = "text"
    starts_when: Literal["complete", "begun"] = "complete"
    otherwise: Literal["never", "at_end"] = "never"


@dataclass(frozen=True)
class Agent:
    """One role played by a model, or an input, or a vote.

    Attributes:
        name: unique within the pipeline.
        engine: name of the engine that serves its calls; the agent's own name if empty.
        reads: names of the agents whose output it reads, in prompt order.
        role: what the model is told it is (its system text).
        max_tokens: most tokens it may write.
        thinking: None where nothing is said of it.
        arrival: of an input, which no engine writes; None of a model.
        peers: those of ``reads`` for which it never waits: each step shows what they have by then.
        vote: of one that takes the text of one of ``reads``, with no engine; None of a model.
        items: a regular expression; where it matches an item of its text begins. Empty: none.
        fork: of a branch, which has said nothing if it never starts; its source is one of
            ``reads``.
        template: what a scenario calls it and others that are asked the same, as samples and
            branches are: they have the same prompt texts. The agent's name if empty.
    """

    name: str
    engine: str = ""
    reads: tuple[str, ...] = ()
    role: str = ""
    max_tokens: int = 512
    thinking: Thinking | None = None
    arrival: Arrival | None = None
    peers: tuple[str, ...] = ()
    vote: Vote | None = None
    items: str = ""
    fork: Fork | None = None
    template: str = ""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise PipelineError(f"agent name {self.name!r}: give a non-empty name without '/'")
        if self.max_tokens < 1:
            raise PipelineError(
                f"agent {self.name!r}: max_tokens is {self.max_tokens}, must be 1 or more"
            )
        if self.arrival and (self.reads or self.engine not in ("", self.name)):
            raise PipelineError(f"input {self.name!r} can neither read nor have an engine")
        if self.vote and (self.arrival or self.peers or self.engine not in ("", self.name)):
            raise PipelineError(
                f"agent {self.name!r} votes: it can have neither peers nor an engine"
            )
        if self.vote and not 1 <= len(self.reads) <= MOST_SAMPLES:
            raise PipelineError(
                f"agent {self.name!r} votes on {len(self.reads)} texts, must be 1 to {MOST_SAMPLES}"
            )
        object.__setattr__(self, "engine", self.engine or self.name)
        object.__setattr__(self, "reads", tuple(self.reads))
        object.__setattr__(self, "peers", tuple(self.peers))
        object.__setattr__(self, "template", self.template or self.name)
        self._check_items()
        for name in self.peers:
            if name not in self.reads or name == self.name:
                raise PipelineError(
                    f"agent {self.name!r}: peer {name!r} must be another that it reads"
                )

    def _check_items(self) -> None:
        try:
            is_everywhere = bool(self.items) and re.compile(self.items).match("") is not None
        except re.error as error:
            raise PipelineError(
                f"agent {self.name!r}: items {self.items!r} is no regular expression: {error}"
            ) from None
        if is_everywhere:
            raise PipelineError(
                f"agent {self.name!r}: items {self.items!r} matches an empty text; say what stands "
                r"where an item begins, as '(?m)^\d+\. '"
            )
        if self.fork and (self.fork.source not in self.reads or self.fork.source in self.peers):
            raise PipelineError(
                f"branch {self.name!r} must read {self.fork.source!r}, and not as its peer"
            )
        if self.fork and self.fork.item < 1:
            raise PipelineError(f"branch {self.name!r}: item {self.fork.item}, must be 1 or more")

    def alone(self) -> Agent:
        """The same that reads nobody."""
        return replace(self, reads=(), peers=(), fork=None)

    def starts_by(self, source: str) -> bool:
        """Whether an item of ``source`` starts it."""
        return self.fork is not None and self.fork.source == source

    @property
    def has_engine(self) -> bool:
        """Whether a model writes its text."""
        return self.arrival is None and self.vote is None

    @property
    def is_sample(self) -> bool:
        """Whether others are asked just the same."""
        return self.template != self.name and not self.fork

    @property
    def keys(self) -> tuple[str, ...]:
        """By which a scenario may name it: its own name, and that of all of its template."""
        return tuple(dict.fromkeys((self.name, self.template)))

    @cached_property
    def waits_for(self) -> tuple[str, ...]:
        """Those of ``reads`` for which its steps wait."""
        forked = self.fork.source if self.fork else None
        return tuple(name for name in self.reads if name not in (*self.peers, forked))

    @cached_property
    def follows(self) -> tuple[str, ...]:
        """Those of ``reads`` without which it cannot begin."""
        return tuple(name for name in self.reads if name not in self.peers)

    @property
    def has_staircase(self) -> bool:
        """Whether it reads in steps: a branch reads its item at once, and a vote whole texts."""
        return bool(self.waits_for or self.peers) and not self.vote


@dataclass(frozen=True)
class Pipeline:
    """Agents, who reads whom, and which agent is the answer.

    Raises:
        PipelineError: a name twice or unknown, a cycle, or an agent that nobody reads.
    """

    agents: tuple[Agent, ...]
    answer: str
    _by_name: dict[str, Agent] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "agents", tuple(self.agents))
        object.__setattr__(self, "_by_name", {agent.name: agent for agent in self.agents})
        self._check_names()
        self._check_order()
        self._check_everyone_is_read()

    def __getitem__(self, name: str) -> Agent:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Agent]:
        return iter(self.agents)

    @cached_property
    def order(self) -> tuple[Agent, ...]:
        """Agents with every source before those who wait for it."""
        graph = {agent.name: agent.follows for agent in self.agents}
        return tuple(self._by_name[name] for name in TopologicalSorter(graph).static_order())

    @cached_property
    def readers(self) -> tuple[Agent, ...]:
        """Agents that read others in steps and write: those that have a staircase."""
        return tuple(agent for agent in self.order if agent.has_staircase)

    @cached_property
    def engines(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(agent.engine for agent in self.agents if agent.has_engine))

    @cached_property
    def has_peers(self) -> bool:
        return any(agent.peers for agent in self.agents)

    @cached_property
    def has_forks(self) -> bool:
        return any(agent.fork for agent in self.agents)

    @cached_property
    def inputs(self) -> tuple[Agent, ...]:
        """What no model writes and comes on a clock."""
        return tuple(agent for agent in self.agents if agent.arrival)

    @cached_property
    def votes(self) -> tuple[Agent, ...]:
        """Agents that vote, those whom others read before these."""
        return tuple(agent for agent in self.order if agent.vote)

    @cached_property
    def sample_turns(self) -> dict[str, tuple[str, ...]]:
        """By agent on which somebody votes: those of the same vote that come before it.

        In ``order``, so whoever has nobody left before it waits for nobody who has.
        """
        names = [agent.name for agent in self.order]
        drawn = [[name for name in names if name in vote.reads] for vote in self.votes]
        return {name: tuple(some[:place]) for some in drawn for place, name in enumerate(some)}

    @cached_property
    def _readers_of(self) -> dict[str, tuple[Agent, ...]]:
        found: dict[str, list[Agent]] = {agent.name: [] for agent in self.agents}
        for agent in self.agents:
            for name in agent.reads:
                found[name].append(agent)
        return {name: tuple(readers) for name, readers in found.items()}

    def readers_of(self, name: str) -> tuple[Agent, ...]:
        return self._readers_of[name]

    def vote_on(self, name: str) -> Vote | None:
        """The vote that is held on the text of ``name``, if there is one."""
        return next((agent.vote for agent in self.readers_of(name) if agent.vote), None)

    def _check_names(self) -> None:
        names = [agent.name for agent in self.agents]
        for name, count in Counter(names).items():
            if count > 1:
                raise PipelineError(f"agent {name!r} stands twice in the pipeline")
        if self.answer not in names:
            raise PipelineError(f"answer {self.answer!r} is no agent; known: {', '.join(names)}")
        if self[self.answer].arrival:
            raise PipelineError(f"answer {self.answer!r} is an input, which answers nothing")
        for agent in self.agents:
            self._check_sources(agent, names)
        self._check_those_without_engine()

    def _check_those_without_engine(self) -> None:
        for agent in self.agents:
            if not agent.has_engine and agent.engine in self.engines:
                what = "input" if agent.arrival else "vote"
                raise PipelineError(
                    f"{what} {agent.name!r} has the name of an engine; give it another one"
                )

    def _check_sources(self, agent: Agent, names: Sequence[str]) -> None:
        for source in agent.reads:
            if source not in names:
                raise PipelineError(
                    f"agent {agent.name!r} reads {source!r}, which is no agent; "
                    f"known: {', '.join(names)}"
                )
        if len(set(agent.reads)) < len(agent.reads):
            raise PipelineError(f"agent {agent.name!r} names a source twice in 'reads'")
        for source in agent.reads if agent.vote else ():
            if self[source].arrival:
                raise PipelineError(f"agent {agent.name!r} votes on {source!r}, which is an input")
            others = [one.name for one in self.agents if one.vote and source in one.reads]
            if len(others) > 1:
                raise PipelineError(f"{' and '.join(others)} vote on {source!r}; one of them may")
        if agent.fork and not self[agent.fork.source].items:
            raise PipelineError(
                f"branch {agent.name!r} is started by an item of {agent.fork.source!r}, whose text "
                "has none: give it 'items'"
            )

    def _check_order(self) -> None:
        try:
            _ = self.order
        except CycleError as error:
            loop = " → ".join(reversed(error.args[1]))
            raise PipelineError(
                f"agents wait for each other in a cycle: {loop}; one of them must read another as "
                "its peer"
            ) from None

    def _check_everyone_is_read(self) -> None:
        for agent in self.agents:
            if agent.name != self.answer and not self.readers_of(agent.name):
                raise PipelineError(
                    f"nobody reads agent {agent.name!r}, and it is not the answer: "
                    "name it in some agent's 'reads' or leave it out"
                )


def single(name: str = "model", **options: object) -> Pipeline:
    """One model alone."""
    return Pipeline((Agent(name, **options),), name)  # type: ignore[arg-type]


def moa(layers: Sequence[Sequence[str]], answer: str = "aggregator") -> Pipeline:
    """Mixture-of-Agents: every agent of a layer reads the whole layer before it."""
    if not layers or not all(layers):
        raise PipelineError("moa: every layer needs at least one agent")
    return _layered([*layers, [answer]], answer)


def chain(names: Sequence[str]) -> Pipeline:
    """Agents in a row, each reading the one before it."""
    if not names:
        raise PipelineError("chain: needs at least one agent")
    return _layered([[name] for name in names], names[-1])


def debate(debaters: Sequence[str], rounds: int, answer: str = "judge") -> Pipeline:
    """Every debater reads all statements of the round before; the judge reads the last round.

    Round r of debater d is the agent ``d.r``, served by the engine ``d``.
    """
    if rounds < 1 or not debaters:
        raise PipelineError("debate: needs at least one debater and one round")
    layers = [[f"{name}.{number}" for name in debaters] for number in range(1, rounds + 1)]
    engines = {f"{name}.{r}": name for name in debaters for r in range(1, rounds + 1)}
    return _layered([*layers, [answer]], answer, engines)


def _layered(
    layers: Sequence[Sequence[str]], answer: str, engines: dict[str, str] | None = None
) -> Pipeline:
    agents: list[Agent] = []
    below: tuple[str, ...] = ()
    for layer in layers:
        agents += [Agent(name, (engines or {}).get(name, name), below) for name in layer]
        below = tuple(layer)
    return Pipeline(tuple(agents), answer)
