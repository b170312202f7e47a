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

from simulator.compiled.call_segments import FixedLengths, Pieces, as_rows
from simulator.compiled.call_tables import ROW, THE_END, CallTables, TextNumbers
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
    placed = [
        (agent_rows[step.requests * len(order) + place] + number, step)
        for place, steps in enumerate(calls)
        for number, step in enumerate(steps)
    ]
    for places, step in placed:
        for name in _COLUMNS:
            rows[name][places] = getattr(step, name)
    return CallTables(rows, agent_rows, _placed_segments(rows, placed))


def _placed_segments(rows: Any, placed: Sequence[tuple[Ints, _StepCalls]]) -> Ints:
    """The segments of all rows, one row's after the other's; tells each row where its own begin."""
    sizes = np.zeros(len(rows), dtype=np.int64)
    for places, step in placed:
        sizes[places] = step.segments.shape[1]
    rows["first_segment"] = np.cumsum(sizes) - sizes
    found = np.zeros((int(sizes.sum()), 3), dtype=np.int64)
    for places, step in placed:
        inside = np.arange(step.segments.shape[1])
        found[rows["first_segment"][places][:, None] + inside] = step.segments
    return found


class _StepCalls(NamedTuple):
    """One step's calls of an agent: a row of every array is one request's, as of ROW.

    Attributes:
        segments: [requests, segments, 3].
    """

    requests: Ints
    segments: Ints
    level: int
    prompt: Ints
    goal: Ints
    outputs: Ints
    ends_early: Bools
    is_last: Bools


_COLUMNS = _StepCalls._fields[2:]


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
        calls = state.next_calls(agent, staircase.step(number), schedule.layout, number == 0)
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
        sources, shown: [sources, requests]; tokens of their whole texts, and what it has read.
        read_tokens: of all that it has been shown, with what stands between.
        before: what it had written at the last round.
        pieces: of its prompts, where somebody asks for them.
    """

    requests: Ints
    stops: Bools
    wanted: Ints
    sources: Ints
    shown: Ints
    read_tokens: Ints
    written: Ints
    before: Ints
    fixed: FixedLengths
    pieces: Pieces | None

    @staticmethod
    def open(
        agent: Agent, layout: Layout, lengths: _Lengths, texts: TextNumbers | None
    ) -> _AgentStates:
        sources, fixed = lengths.sources(agent), lengths.fixed(agent)
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
            nothing,
            fixed,
            None if texts is None else Pieces.open(agent, layout, texts, fixed),
        )

    def only(self, which: Bools) -> _AgentStates:
        arrays = {
            name: value[..., which] for name, value in vars(self).items() if hasattr(value, "dtype")
        }
        pieces = None if self.pieces is None else self.pieces.only(which)
        return replace(self, **arrays, fixed=self.fixed.only(which), pieces=pieces)

    def next_calls(self, agent: Agent, step: Step, layout: Layout, is_first: bool) -> _StepCalls:
        """Those of ``step``; what they write is written then."""
        read, is_last = self.sources, np.ones(len(self.requests), dtype=bool)
        if step.read is not None:
            read = np.minimum(self.sources, step.read)
            is_last = np.all(self.sources < step.read, axis=0)
        self._show(read, layout, is_first)
        limit = room = agent.max_tokens - self.written
        if step.write is not None:
            limit = np.where(is_last, room, np.minimum(step.write, room))
        left = np.maximum(self.wanted - self.written, 0)
        goal, ends_early = np.minimum(left, limit), left < limit
        calls = _StepCalls(
            self.requests,
            self._segments(read, goal, is_first),
            THE_END if step.read is None else step.read,
            self.fixed.head + self.read_tokens + self.fixed.own + self.written,
            goal,
            goal + (ends_early & (self.stops | (goal == 0))),
            ends_early,
            is_last,
        )
        self.shown, self.before, self.written = read, self.written, self.written + goal
        return calls

    def _show(self, read: Ints, layout: Layout, is_first: bool) -> None:
        labels = self.fixed.labels
        if layout in ("rebuild", "rebuild_query_first"):
            self.read_tokens = np.sum(read + labels * (read > 0), axis=0)
            return
        grows = read > self.shown
        self.read_tokens = self.read_tokens + np.sum(read - self.shown + labels * grows, axis=0)
        if layout == "interleave" and not is_first:
            between = self.fixed.turn + self.fixed.own
            self.read_tokens += np.where(np.any(grows, axis=0), between, 0)

    def _segments(self, read: Ints, goal: Ints, is_first: bool) -> Ints:
        if self.pieces is None:
            return np.zeros((len(goal), 0, 3), dtype=np.int64)
        before = None if is_first else self.before
        shown = self.pieces.show(self.shown, read, self.written, before)
        own_text = self.pieces.own_text(self.written, self.written + goal)
        return as_rows([*shown, *own_text])
