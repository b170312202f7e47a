"""A schedule as a table of calls: what the conductor, asked without a clock, would start.

Where reads do not depend on timing (barrier ``all``, reading ``exact``, never ahead of the text),
every call's prompt and length follow from the lengths of the texts alone. So the conductor is
played once with every call ending at once, sources before their readers, and each call that it
starts becomes a row: it waits for its agent's call before it, and until every source has ``level``
tokens or has ended.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from simulator.core.calls import columns
from simulator.core.content import NOTHING_MORE
from simulator.engine import SimulatedCall
from staircase.conductor import Conductor
from staircase.messages import Call, CallEnded, Command, StartCall
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule, Staircase
from staircase.shared_texts import is_common
from staircase.workload import RequestShape

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

# A level that no source reaches: its end is waited for.
THE_END = 1 << 62


# One row for each call; an agent's rows of one table are neighbours.
#   level                  tokens of every source, or their ends, that the call waits for
#   prompt, goal, outputs  as in ``simulator.core.calls``
#   ends_early             it ends before it has written all that it may
#   is_last                the agent will not read any more
#   first_segment          first of the segments of its prompt
#   segments               how many there are; rows may share them
#   own_segment            first of two more, the own text and what opens it, or NOTHING_MORE
ROW = columns(
    "level",
    "prompt",
    "goal",
    "outputs",
    "ends_early",
    "is_last",
    "first_segment",
    "segments",
    "own_segment",
)


class CallTables(NamedTuple):
    """All tables, one after the other.

    Attributes:
        rows: of type ROW, and one more at the end.
        agent_rows: first row of (table, agent), flat; one more cell at the end.
        segments: (text, start, stop) of prompt and of what the call writes, if somebody caches
            prefixes; a request's own texts are counted from 1, those that requests have in common
            from -1 down.
    """

    rows: Any
    agent_rows: Ints
    segments: Ints


@dataclass
class TextNumbers:
    """Numbers of texts, given as they are asked for.

    Attributes:
        private: texts that the caches of other requests do not have, though they are the same.
    """

    private: Collection[str] = ()
    own: dict[str, int] = field(default_factory=dict)
    common: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, source: str) -> int:
        if is_common(source) and source not in self.private:
            return self.common.setdefault(source, -len(self.common) - 1)
        return self.own.setdefault(source, len(self.own) + 1)


@dataclass
class TableBuilder:
    """Collects the tables of requests, each played by the conductor.

    Attributes:
        texts: those that segments name; None: there are to be no segments.
    """

    pipeline: Pipeline
    schedule: Schedule
    texts: TextNumbers | None
    _rows: list[tuple[int, ...]] = field(default_factory=list)
    _agent_rows: list[int] = field(default_factory=lambda: [0])
    _segments: array[int] = field(default_factory=lambda: array("q"))

    def add(self, request: RequestShape) -> bool:
        """Adds the request's table; False if what is read depends on the clock."""
        calls = untimed_calls(self.pipeline, self.schedule, request)
        if calls is None:
            return False
        for agent in self.pipeline.order:
            staircase = self.schedule.staircases.get(agent.name, Staircase())
            for call in (call for call in calls if call.agent == agent.name):
                self._add_row(request, call, staircase if agent.reads else None)
            self._agent_rows.append(len(self._rows))
        return True

    def tables(self) -> CallTables:
        return CallTables(
            np.asarray([*self._rows, (0,) * 9], dtype=ROW),
            np.asarray(self._agent_rows, dtype=np.int64),
            np.frombuffer(self._segments, dtype=np.int64).reshape(-1, 3),
        )

    def _add_row(self, request: RequestShape, call: Call, staircase: Staircase | None) -> None:
        simulated = _simulated(call, request)
        level = staircase.step(call.step).read if staircase else 0
        first = len(self._segments) // 3
        texts = self.texts
        if texts is not None:
            segments = simulated.text(simulated.goal_tokens).segments
            self._segments.extend([n for s in segments for n in (texts[s.source], s.start, s.stop)])
        self._rows.append(
            (
                THE_END if level is None else level,
                call.prompt.tokens,
                simulated.goal_tokens,
                simulated.outputs,
                int(simulated.ends_early),
                int(call.is_last),
                first,
                len(self._segments) // 3 - first,
                NOTHING_MORE,
            )
        )


def untimed_calls(
    pipeline: Pipeline, schedule: Schedule, request: RequestShape
) -> list[Call] | None:
    """The calls of a request; None if they depend on the clock.

    They do where an agent that thought that it was done reads on (``early_end: continue``): the
    conductor then listens for anything new.
    """
    if schedule.is_timed:
        return None
    conductor = Conductor(pipeline, schedule, request.fixed_tokens)
    place = {agent.name: number for number, agent in enumerate(pipeline.order)}
    written = dict.fromkeys(place, 0)
    calls: list[Call] = []
    stopped: set[str] = set()
    running = list(_started(conductor.start()))
    while running:
        call = min(running, key=lambda call: place[call.agent])
        running.remove(call)
        if call.agent in stopped:
            return None
        calls.append(call)
        simulated = _simulated(call, request)
        written[call.agent] += simulated.goal_tokens
        if simulated.ends_early:
            stopped.add(call.agent)
        reason = simulated.reason_after(simulated.outputs)
        running += _started(conductor.handle(CallEnded(call.number, reason), written))
    return calls


def _started(commands: Sequence[Command]) -> Iterator[Call]:
    return (command.call for command in commands if isinstance(command, StartCall))


def _simulated(call: Call, request: RequestShape) -> SimulatedCall:
    left = max(request.output_tokens[call.agent] - call.written, 0)
    return SimulatedCall(0, call, left, request.ends_with == "stop", parts=request.parts)


def sources_of(pipeline: Pipeline) -> tuple[Ints, Ints]:
    """Numbers of each agent's sources, flat, and where those of each agent begin."""
    return _flat(pipeline, {agent.name: agent.reads for agent in pipeline})


def readers_of(pipeline: Pipeline) -> tuple[Ints, Ints]:
    """Numbers of each agent's readers, flat, and where those of each agent begin."""
    names = {
        agent.name: tuple(reader.name for reader in pipeline.readers_of(agent.name))
        for agent in pipeline
    }
    return _flat(pipeline, names)


def _flat(pipeline: Pipeline, names: Mapping[str, Sequence[str]]) -> tuple[Ints, Ints]:
    place = {agent.name: number for number, agent in enumerate(pipeline.order)}
    lists = [[place[name] for name in names[agent.name]] for agent in pipeline.order]
    starts = np.cumsum([0, *(len(numbers) for numbers in lists)])
    return np.asarray(list(chain.from_iterable(lists)), dtype=np.int64), starts.astype(np.int64)
