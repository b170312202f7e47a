"""Tables of calls of many requests at once, where no engine caches prefixes.

``call_tables`` plays the conductor for every request. Here lengths are all that a table says, and
those of all requests follow from each other step by step, in arrays. So this says again what
``staircase.conductor`` and ``staircase.prompt`` say; ``tests/test_call_rows.py`` holds it to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from simulator.compiled.call_tables import ROW, THE_END, CallTables
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import header, label, nonce, own, query, turn
from staircase.schedule import Layout, Schedule, Staircase, Step
from staircase.workload import RequestShape

# An int64 array, or one of bools.
Ints = Any
Bools = Any


def has_rows(schedule: Schedule) -> bool:
    """Whether lengths alone say what is called: nobody who thought that it was done reads on."""
    return not schedule.is_timed and schedule.early_end == "accept"


def tables_of_lengths(
    pipeline: Pipeline, schedule: Schedule, requests: Sequence[RequestShape]
) -> CallTables:
    """A table for each of ``requests``, without segments; ``schedule`` is such as ``has_rows``."""
    lengths = _Lengths(pipeline, schedule, requests)
    order = pipeline.order
    calls = [list(_calls(agent, schedule, lengths)) for agent in order]
    counts = np.zeros((len(requests), len(order)), dtype=np.int64)
    for place, steps in enumerate(calls):
        for step in steps:
            counts[step.requests, place] += 1
    agent_rows = np.concatenate([[0], np.cumsum(counts.ravel())])
    rows = np.zeros(int(agent_rows[-1]) + 1, dtype=ROW)
    for place, steps in enumerate(calls):
        for number, step in enumerate(steps):
            _fill(rows, agent_rows[step.requests * len(order) + place] + number, step)
    return CallTables(rows, agent_rows, np.zeros((0, 3), dtype=np.int64))


class _Calls(NamedTuple):
    """One step's calls of an agent: a row of every array is one request's, as of ROW."""

    requests: Ints
    level: int
    prompt: Ints
    goal: Ints
    outputs: Ints
    ends_early: Bools
    is_last: Bools


def _fill(rows: Any, places: Ints, step: _Calls) -> None:
    for name in step._fields[1:]:
        rows[name][places] = getattr(step, name)


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

    def fixed(self, name: str) -> Ints:
        return self._array([request.fixed_tokens.get(name, 0) for request in self._requests])

    @staticmethod
    def _array(tokens: Sequence[int]) -> Ints:
        return np.asarray(tokens, dtype=np.int64)


def _calls(agent: Agent, schedule: Schedule, lengths: _Lengths) -> Iterator[_Calls]:
    if agent.name in schedule.without:
        return
    staircase = schedule.staircases.get(agent.name, Staircase())
    state = _AgentStates.open(agent, lengths)
    for number in count():
        state.show(staircase.step(number), schedule.layout, number == 0)
        calls = state.next_calls(agent, staircase.step(number))
        yield calls if agent.reads else calls._replace(level=0)
        goes_on = ~(calls.is_last | calls.ends_early | (state.written == agent.max_tokens))
        if not np.any(goes_on):
            return
        if not np.all(goes_on):
            state = state.only(goes_on)


@dataclass
class _AgentStates:
    """One agent in every request in which it has not ended: the last axis is of requests.

    Attributes:
        requests: their numbers.
        stops: whether its end costs an iteration of its own.
        wanted: tokens that it would write.
        sources, labels, shown: [sources, requests]; tokens of their whole texts, of what stands
            before each, and of what it has read.
        own, turn: tokens of the texts that open its own one, and end it before a further round.
        fixed: tokens of header, nonce and query.
        texts: tokens of all that it has been shown, with what stands between.
    """

    requests: Ints
    stops: Bools
    wanted: Ints
    sources: Ints
    labels: Ints
    shown: Ints
    own: Ints
    turn: Ints
    fixed: Ints
    texts: Ints
    written: Ints

    @staticmethod
    def open(agent: Agent, lengths: _Lengths) -> _AgentStates:
        name, requests = agent.name, np.arange(len(lengths.stops))
        shape = (len(agent.reads), len(requests))
        sources = np.reshape([lengths.written[source] for source in agent.reads], shape)
        labels = np.reshape([lengths.fixed(label(name, one)) for one in agent.reads], shape)
        fixed = lengths.fixed(header(name)) + lengths.fixed(nonce(name))
        return _AgentStates(
            requests,
            lengths.stops,
            lengths.wanted[name],
            sources.astype(np.int64),
            labels.astype(np.int64),
            np.zeros(shape, dtype=np.int64),
            lengths.fixed(own(name)),
            lengths.fixed(turn(name)),
            fixed + lengths.fixed(query(name)),
            np.zeros_like(requests),
            np.zeros_like(requests),
        )

    def only(self, which: Bools) -> _AgentStates:
        return replace(
            self, **{field.name: getattr(self, field.name)[..., which] for field in fields(self)}
        )

    def show(self, step: Step, layout: Layout, is_first: bool) -> None:
        """What ``step`` reads stands in the prompts."""
        read = self.sources if step.read is None else np.minimum(self.sources, step.read)
        if layout in ("rebuild", "rebuild_query_first"):
            self.texts = np.sum(read + self.labels * (read > 0), axis=0)
        else:
            grows = read > self.shown
            self.texts = self.texts + np.sum(read - self.shown + self.labels * grows, axis=0)
            if layout == "interleave" and not is_first:
                self.texts += np.where(np.any(grows, axis=0), self.turn + self.own, 0)
        self.shown = read

    def next_calls(self, agent: Agent, step: Step) -> _Calls:
        """Those of ``step``; what they write is written then."""
        is_last = np.ones(len(self.requests), dtype=bool)
        if step.read is not None:
            is_last = np.all(self.sources < step.read, axis=0)
        prompt = self.fixed + self.texts + self.own + self.written
        limit = room = agent.max_tokens - self.written
        if step.write is not None:
            limit = np.where(is_last, room, np.minimum(step.write, room))
        left = np.maximum(self.wanted - self.written, 0)
        goal, ends_early = np.minimum(left, limit), left < limit
        outputs = goal + (ends_early & (self.stops | (goal == 0)))
        self.written = self.written + goal
        level = THE_END if step.read is None else step.read
        return _Calls(self.requests, level, prompt, goal, outputs, ends_early, is_last)
