"""Workloads: what is asked, how long every text is, and when it arrives."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Literal

from staircase.bounds import LAST_PS, LONGEST_RUN_S
from staircase.errors import WorkloadError
from staircase.messages import Call
from staircase.pipeline import Pipeline
from staircase.revisions.acceptance import Acceptance, CheckedText
from staircase.revisions.updates import Update, check_updates, written_tokens
from staircase.shared_texts import Parts
from staircase.timeline import to_s
from staircase.votes import Ballot


@dataclass(frozen=True)
class Question:
    """One user query as text: what the executor runs.

    Attributes:
        inputs: queries of single agents that differ from ``query``, by agent name.
        reference: the right answer, if there is one.
        kind: of the question, if it is told.
        earlier: turns of the same conversation before it: what was asked and what was answered.
        updates: what is there of an input, and from how many seconds after the request on, by name;
            the last is the input's text.
    """

    query: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    reference: str | None = None
    kind: str | None = None
    earlier: tuple[tuple[str, str], ...] = ()
    updates: Mapping[str, tuple[tuple[float, str], ...]] = field(default_factory=dict)

    def input(self, name: str) -> str:
        """What comes as input ``name``.

        Raises:
            WorkloadError: the question does not say.
        """
        if not self.inputs.get(name):
            raise WorkloadError(
                f"question {self.query[:40]!r}: says nothing of the input {name!r}; give "
                f'"inputs": {{"{name}": "..."}} beside "query"'
            )
        return self.inputs[name]

    def query_for(self, agent: str, template: str = "") -> str:
        """What ``agent`` is asked; a branch what its ``template`` is, if nothing is said of it."""
        return self.inputs.get(agent, self.inputs.get(template, self.query))

    @property
    def text(self) -> str:
        """All that was asked, for whoever judges the answer."""
        own = [f"{agent}: {query}" for agent, query in self.inputs.items()]
        return "\n".join([self.query, *own])


# By key of a request as lengths, of an agent.
NOT_SAID = {
    "output_tokens": "how many tokens {} writes",
    "items": "where items of {} begin",
    "ballots": "what {} votes for; give workload.ballots",
}


@dataclass(frozen=True)
class RequestShape:
    """One user query as lengths: what the simulator runs.

    Attributes:
        fixed_tokens: length of each prompt text that does not grow (``staircase.prompt`` names).
        output_tokens: tokens that each agent writes before it ends.
        ends_with: ``stop``: the model says that it ends, which costs one more iteration;
            ``length``: the last token is known to be the last.
        thinking_tokens: that agents think before they write, in the first call of each.
        items: tokens before each item of an agent's text, rising, of those that have ``items``.
        read_before_item: of those whose only item is what they write first after they read so many
            tokens of all for whom they wait.
        parts: what those texts consist of that other requests have too, by name.
        ballots: what agents' texts say to the votes that read them, by name; of one that is
            discarded for its length, whatever is said here.
        updates: how inputs come that replace part of what they said, by name; ``output_tokens`` of
            these are those that stand in the end.
        acceptance: how much of a text stands when it is checked; None if that is not known.
    """

    fixed_tokens: Mapping[str, int]
    output_tokens: Mapping[str, int]
    ends_with: Literal["stop", "length"] = "stop"
    thinking_tokens: Mapping[str, int] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)
    ballots: Mapping[str, Ballot] = field(default_factory=dict)
    items: Mapping[str, Sequence[int]] = field(default_factory=dict)
    updates: Mapping[str, tuple[Update, ...]] = field(default_factory=dict)
    acceptance: Acceptance | None = None
    read_before_item: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, updates in self.updates.items():
            check_updates(updates, f"input {name!r}")

    @cached_property
    def lengths_key(self) -> Hashable:
        """The same for requests whose prompts and texts are as long and share the same parts.
        Names apart from values, as each of many requests keeps its own."""
        packed = []
        for one in (self.fixed_tokens, self.output_tokens, self.parts):
            names = tuple(sorted(one))
            packed += [names, tuple(one[name] for name in names)]
        return (*packed, self.ends_with)

    def left_tokens(self, call: Call) -> int:
        """That the agent writes from ``call`` on until it ends."""
        if call.agent in self.updates:
            return written_tokens(self.updates[call.agent]) - call.written
        return max(self.output_tokens[call.agent] - call.standing, 0)

    def kept_tokens(self, call: Call, before: tuple[int, ...], layout: str) -> int:
        """Of the tokens that ``call`` checks, those that stand; ``before`` it its agent had read so
        much of its sources."""
        if not call.checked:
            return 0
        if self.thinking_tokens.get(call.agent):
            raise WorkloadError(
                f"{call.agent!r} thinks before it answers, so what it wrote on less cannot be "
                "checked; give a schedule without checked"
            )
        if self.acceptance is None:
            raise WorkloadError(
                "a request does not say how much of a checked text stands; give "
                "workload.acceptance, or of measured engines a quality profile"
            )
        settled = call.standing - call.checked
        return self.acceptance.kept_tokens(
            CheckedText(call.agent, call.step, settled, call.checked, before, call.read, layout)
        )

    @property
    def thinks(self) -> bool:
        return any(self.thinking_tokens.values())


@dataclass(frozen=True)
class Workload:
    """Requests that arrive at given times, or of which ``concurrency`` run at any time.

    Attributes:
        concurrency: without ``arrivals_ps``, a new request arrives when one completes.
        arrivals_ps: when each request arrives, rising.
    """

    requests: Sequence[RequestShape]
    concurrency: int = 1
    arrivals_ps: Sequence[int] | None = None

    @property
    def at_once(self) -> int:
        """How many requests begin at the beginning, where they have no arrival times."""
        return min(self.concurrency, len(self.requests))

    def check(self, pipeline: Pipeline) -> None:
        """Raise WorkloadError unless every request says how much each agent writes, where items
        of texts begin that have some, and what those vote for on whom somebody votes."""
        writing = [agent for agent in pipeline if not agent.vote]
        needed = {
            "output_tokens": [one.name for one in writing],
            "items": [one.name for one in pipeline if one.items],
            "ballots": [
                one.name for one in pipeline if not one.vote and pipeline.vote_on(one.name)
            ],
        }
        for request, (key, names) in product(self.requests, needed.items()):
            given = {*getattr(request, key), *(request.read_before_item if key == "items" else ())}
            for name in names:
                if name not in given:
                    raise WorkloadError(
                        f"a request does not say {NOT_SAID[key].format(repr(name))}"
                    )
        for request in self.requests:
            for name, updates in request.updates.items():
                _check_updates(pipeline, name, written_tokens(updates))

    def __post_init__(self) -> None:
        if self.arrivals_ps is not None:
            self._check_arrivals(self.arrivals_ps)
        if self.concurrency < 1:
            raise WorkloadError(f"concurrency is {self.concurrency}, must be 1 or more")
        if not self.requests:
            raise WorkloadError("a workload needs at least one request")

    def _check_arrivals(self, arrivals_ps: Sequence[int]) -> None:
        if len(arrivals_ps) != len(self.requests):
            raise WorkloadError(
                f"{len(self.requests)} requests but {len(arrivals_ps)} arrival times"
            )
        if list(arrivals_ps) != sorted(arrivals_ps) or (len(arrivals_ps) and arrivals_ps[0] < 0):
            raise WorkloadError("arrival times must be 0 or more, and rising")
        if len(arrivals_ps) and arrivals_ps[-1] > LAST_PS:
            raise WorkloadError(
                f"the last request arrives after {to_s(arrivals_ps[-1]):.3g} s, must be within "
                f"{to_s(LAST_PS):.3g} s: fewer requests, a higher rate_per_s or trace.speed"
            )


def _check_updates(pipeline: Pipeline, name: str, tokens: int) -> None:
    if not pipeline[name].arrival or tokens > pipeline[name].max_tokens:
        raise WorkloadError(
            f"{name!r} has updates, so it must be an input with max_tokens of {tokens} or more"
        )


def too_long() -> WorkloadError:
    """The requests are not over when a simulated run has to be."""
    return WorkloadError(
        f"the requests take more than {LONGEST_RUN_S:g} s, the most that is simulated: "
        "give fewer or shorter ones, or faster engines"
    )
