"""How much was not read yet when it was written: what a schedule risks, where nobody measured it.

For a token t of a reading agent, u(t) is the share of its sources' tokens that the agent was not
shown when it wrote t, or checked it last: that it had not read by then, or that a window dropped.
An agent's unread share is the mean of u over its tokens, a request's the mean over its reading
agents: 0 where everything is read first, 1 where nothing ever is. It needs no model, so it stands
in for quality without a quality profile; what it costs differs from task to task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from simulator.compiled.call_tables import CallTables
from staircase.metrics.request_metrics import Floats
from staircase.pipeline import Agent, Pipeline
from staircase.schedule import Schedule
from staircase.timeline import Timeline, last_readings
from staircase.workload import RequestShape

# An int64 array.
Ints = Any


def unread_of_timeline(
    pipeline: Pipeline, schedule: Schedule, timeline: Timeline, request: RequestShape
) -> float:
    """The unread share of ``request``, played by ``schedule`` as ``timeline``.

    Peers, which may write for as long as their reader does, are not in it, nor is what a branch
    does not see of the text whose item starts it. Who was cancelled or not asked counts as a source
    with all that it would have written, as a reader with what it wrote. A vote writes nothing of
    its own; as a source it is the text that it took.
    """
    readers = pipeline.readers
    whole = {
        a.name: min(request.output_tokens.get(a.name, timeline.written[a.name]), a.max_tokens)
        for a in pipeline
    }
    shares = [
        _missed(agent, schedule.skipped(pipeline, agent), timeline, whole) for agent in readers
    ]
    return sum(shares) / len(readers) if readers else 0.0


def _missed(
    agent: Agent,
    skipped: Mapping[str, Callable[[int], int]],
    timeline: Timeline,
    whole: Mapping[str, int],
) -> float:
    places = [place for place, name in enumerate(agent.reads) if name in agent.waits_for]
    there = sum(whole[agent.reads[place]] for place in places)
    written = timeline.written[agent.name]
    if not there or not written:
        return 0.0

    def shown(read: int, source: str) -> int:
        return read - skipped[source](read) if source in skipped else read

    spans = [span for span in timeline.spans if span.agent == agent.name]
    missed = (
        (1 - sum(shown(span.read[place], agent.reads[place]) for place in places) / there)
        * (stop - start)
        for span, start, stop in last_readings(spans, written)
    )
    return sum(missed) / written


def unread_of_tables(
    pipeline: Pipeline, tables: CallTables, requests: Sequence[RequestShape]
) -> Floats:
    """The unread share of each table of calls, as if nobody was cancelled.

    So it is of a schedule and of lengths, whatever the clock says, as ``simulator.analytic.sketch``
    has it too. In timelines a reader that was cancelled counts as far as it came.

    Args:
        requests: one that plays each of the tables.
    """
    order = pipeline.order
    counts = np.diff(tables.agent_rows)
    agents = np.repeat(np.arange(len(counts)) % len(order), counts)
    numbers = np.repeat(np.arange(len(counts)) // len(order), counts)
    sums = np.concatenate([[0], np.cumsum(tables.rows["goal"])])[tables.agent_rows]
    written = np.diff(sums).reshape(-1, len(order))
    missed = np.zeros(len(written))
    lengths = [[min(one.output_tokens[a.name], a.max_tokens) for a in order] for one in requests]
    whole = np.asarray(lengths, dtype=np.int64)
    for agent in pipeline.readers:
        own, sources = order.index(agent), [order.index(pipeline[name]) for name in agent.reads]
        rows = np.flatnonzero(agents == own)
        unread = _unread(tables.rows["level"][rows], numbers[rows], written, whole, sources)
        weights = tables.rows["goal"][rows] / np.maximum(written[numbers[rows], own], 1)
        np.add.at(missed, numbers[rows], unread * weights)
    return missed / max(len(pipeline.readers), 1)


def _unread(
    levels: Ints, numbers: Ints, written: Ints, whole: Ints, sources: Sequence[int]
) -> Floats:
    """The share of the ``sources`` that rows of the tables ``numbers`` have not read."""
    there, every = written[:, sources][numbers], whole[:, sources].sum(axis=1)[numbers]
    read = np.minimum(levels[:, None], there).sum(axis=1)
    return np.where(every > 0, 1 - read / np.maximum(every, 1), 0.0)
