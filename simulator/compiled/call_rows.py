"""Tables of calls of many requests at once.

``call_tables`` plays the conductor for every request. Here the calls of all requests follow from
the lengths of their texts step by step, in arrays. So this says again what ``staircase.conductor``
says; ``tests/test_call_rows.py`` holds it to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from simulator.compiled.call_segments import (
    FixedLengths,
    Piece,
    Pieces,
    Segments,
    StepPrompts,
    step_prompts,
    tokens_of,
)
from simulator.compiled.call_tables import ROW, THE_END, CallTables, TextNumbers
from simulator.core.content import NOTHING_MORE
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import header, label, nonce, own, query, turn
from staircase.schedule import Layout, Schedule, Staircase, Step
from staircase.workload import RequestShape

# An int64 array, or one of bools.
Ints = Any
Bools = Any


def has_rows(schedule: Schedule, requests: Sequence[RequestShape]) -> bool:
    """Whether lengths alone say what is called: nobody who thought that it was done reads on.

    Texts that requests have in common are left to ``call_tables``.
    """
    if schedule.is_timed or schedule.early_end != "accept":
        return False
    return not any(request.parts for request in requests)


def tables_of_lengths(
    pipeline: Pipeline,
    schedule: Schedule,
    requests: Sequence[RequestShape],
    texts: TextNumbers | None,
) -> CallTables:
    """A table for each of ``requests``; both are such as ``has_rows``.

    Args:
        texts: get numbers here; None: there are to be no segments.
    """
    lengths = _Lengths(pipeline, schedule, requests)
    order = pipeline.order
    calls = [list(_calls(agent, schedule, lengths, texts)) for agent in order]
    counts = np.zeros((len(requests), len(order)), dtype=np.int64)
    for place, steps in enumerate(calls):
        for step in steps:
            counts[step.requests, place] += 1
    agent_rows = np.concatenate([[0], np.cumsum(counts.ravel())])
    rows = np.zeros(int(agent_rows[-1]) + 1, dtype=ROW)
    rows["own_segment"] = NOTHING_MORE
    segments = Segments()
    for place, steps in enumerate(calls):
        firsts = agent_rows[place : -1 : len(order)]
        for number, step in enumerate(steps):
            for name in _COLUMNS:
                rows[name][firsts[step.requests] + number] = getattr(step, name)
        if texts is not None:
            _place_segments(rows, firsts, steps, segments)
    return CallTables(rows, agent_rows, segments.whole())


def _place_segments(
    rows: Any, firsts: Ints, steps: Sequence[_StepCalls], segments: Segments
) -> None:
    """Adds the segments of an agent's calls, and tells its rows of them, which begin at ``firsts``.

    Where prompts are not rebuilt, a request's calls share those of its last one.
    """
    shared = np.zeros(len(firsts), dtype=np.int64)
    own = []
    for number, step in enumerate(steps):
        assert step.prompts is not None
        shared[step.requests[step.prompts.shown_of]] = segments.add(step.prompts.shown)
        own.append(segments.add(step.prompts.own))
        if step.prompts.are_rebuilt:
            rows["first_segment"][firsts[step.requests] + number] = shared[step.requests]
    for number, (step, own_segment) in enumerate(zip(steps, own, strict=True)):
        assert step.prompts is not None
        places = firsts[step.requests] + number
        rows["own_segment"][places] = own_segment
        rows["segments"][places] = step.prompts.shown.shape[1]
        if not step.prompts.are_rebuilt:
            rows["first_segment"][places] = shared[step.requests]


class _StepCalls(NamedTuple):
    """One step's calls of an agent: a row of every array is one request's.

    Attributes:
        ends: whether the agent ends with it.
        prompts: where somebody asks for them.
        level, …: as of ROW.
    """

    requests: Ints
    ends: Bools
    prompts: StepPrompts | None
    level: int
    prompt: Ints
    goal: Ints
    outputs: Ints
    ends_early: Bools
    is_last: Bools


_COLUMNS = _StepCalls._fields[3:]


class _Lengths:
    """Lengths of the texts of many requests: an array has one for each."""

    def __init__(
        self, pipeline: Pipeline, schedule: Schedule, requests: Sequence[RequestShape]
    ) -> None:
        self._requests = requests
        self.stops = np.asarray([request.ends_with == "stop" for request in requests])
        self.wanted = {
            agent.name: self._array([request.output_tokens[agent.name] for request in requests])
            for agent in pipeline
        }
        asked = (agent for agent in pipeline if agent.name not in schedule.without)
        self.written = {name: np.zeros_like(tokens) for name, tokens in self.wanted.items()} | {
            agent.name: np.minimum(self.wanted[agent.name], agent.max_tokens) for agent in asked
        }

    def fixed(self, agent: Agent) -> FixedLengths:
        name, shape = agent.name, (len(agent.reads), len(self._requests))
        labels = [self._of(label(name, source)) for source in agent.reads]
        return FixedLengths(
            self._of(header(name)),
            self._of(nonce(name)),
            self._of(query(name)),
            np.reshape(labels, shape).astype(np.int64),
            self._of(own(name)),
            self._of(turn(name)),
        )

    def sources(self, agent: Agent) -> Ints:
        """[sources, requests]: tokens of their whole texts."""
        shape = (len(agent.reads), len(self._requests))
        return np.reshape([self.written[name] for name in agent.reads], shape).astype(np.int64)

    def _of(self, name: str) -> Ints:
        return self._array([request.fixed_tokens.get(name, 0) for request in self._requests])

    @staticmethod
    def _array(tokens: Sequence[int]) -> Ints:
        return np.asarray(tokens, dtype=np.int64)


def _calls(
    agent: Agent, schedule: Schedule, lengths: _Lengths, texts: TextNumbers | None
) -> Iterator[_StepCalls]:
    if agent.name in schedule.without:
        return
    staircase = schedule.staircases.get(agent.name, Staircase())
    state = _AgentStates.open(agent, schedule.layout, lengths, texts)
    for number in count():
        calls = state.next_calls(agent, staircase.step(number), number == 0)
        yield calls if agent.reads else calls._replace(level=0)
        if np.all(calls.ends):
            return
        if np.any(calls.ends):
            state = state.only(~calls.ends)


@dataclass
class _AgentStates:
    """One agent in every request in which it has not ended: the last axis is of requests.

    Attributes:
        requests: their numbers.
        stops: whether its end costs an iteration of its own.
        wanted: tokens that it would write.
        sources, shown: [sources, requests]; tokens of their whole texts, and what it has read.
        before: what it had written at the last round.
        pieces: of its prompts.
    """

    requests: Ints
    stops: Bools
    wanted: Ints
    sources: Ints
    shown: Ints
    written: Ints
    before: Ints
    pieces: Pieces

    @staticmethod
    def open(
        agent: Agent, layout: Layout, lengths: _Lengths, texts: TextNumbers | None
    ) -> _AgentStates:
        sources = lengths.sources(agent)
        requests = np.arange(len(lengths.stops))
        nothing = np.zeros_like(requests)
        return _AgentStates(
            requests,
            lengths.stops,
            lengths.wanted[agent.name],
            sources,
            np.zeros_like(sources),
            nothing,
            nothing,
            Pieces.open(
                agent, layout, texts or TextNumbers(), texts is not None, lengths.fixed(agent)
            ),
        )

    def only(self, which: Bools) -> _AgentStates:
        arrays = {
            name: value[..., which] for name, value in vars(self).items() if hasattr(value, "dtype")
        }
        return replace(self, **arrays, pieces=self.pieces.only(which))

    def next_calls(self, agent: Agent, step: Step, is_first: bool) -> _StepCalls:
        """Those of ``step``; what they write is written then."""
        read, is_last = self.sources, np.ones(len(self.requests), dtype=bool)
        if step.read is not None:
            read = np.minimum(self.sources, step.read)
            is_last = np.all(self.sources < step.read, axis=0)
        before = None if is_first else self.before
        shown = self.pieces.show(self.shown, read, self.written, before)
        prompt = self.pieces.tokens + tokens_of(self.pieces.own_text(self.written, self.written))
        limit = room = agent.max_tokens - self.written
        if step.write is not None:
            limit = np.where(is_last, room, np.minimum(step.write, room))
        left = np.maximum(self.wanted - self.written, 0)
        goal, ends_early = np.minimum(left, limit), left < limit
        ends = is_last | ends_early | (goal == room)
        calls = _StepCalls(
            self.requests,
            ends,
            self._prompts(shown, goal, ends),
            THE_END if step.read is None else step.read,
            prompt,
            goal,
            goal + (ends_early & (self.stops | (goal == 0))),
            ends_early,
            is_last,
        )
        self.shown, self.before, self.written = read, self.written, self.written + goal
        return calls

    def _prompts(self, shown: Sequence[Piece], goal: Ints, ends: Bools) -> StepPrompts | None:
        if not self.pieces.are_kept:
            return None
        own_text = self.pieces.own_text(self.written, self.written + goal)
        return step_prompts(shown, own_text, ends, self.pieces.are_rebuilt)
