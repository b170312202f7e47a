"""How much was not read yet when it was written: what a schedule risks, where nobody measured it.

For a token t of a reading agent, u(t) is the share of its sources' tokens that the agent had not
been shown when it wrote t. An agent's unread share is the mean of u over its tokens, a request's
the mean over its reading agents: 0 where everything is read first, 1 where nothing ever is. It
needs no model, so it stands in for quality without a quality profile; what it costs differs from
task to task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from simulator.compiled.results import Played
from staircase.metrics.request_metrics import Floats
from staircase.pipeline import Agent, Pipeline
from staircase.timeline import Timeline
from staircase.workload import RequestShape


def unread_of_timeline(pipeline: Pipeline, timeline: Timeline, request: RequestShape) -> float:
    """The unread share of ``request``, played as ``timeline``.

    Who was cancelled or not asked counts as a source with all that it would have written, as a
    reader with what it wrote.
    """
    readers = pipeline.readers
    whole = {a.name: min(request.output_tokens[a.name], a.max_tokens) for a in pipeline}
    shares = [_missed(agent, timeline, whole) for agent in readers]
    return sum(shares) / len(readers) if readers else 0.0


def _missed(agent: Agent, timeline: Timeline, whole: Mapping[str, int]) -> float:
    there, written = sum(whole[source] for source in agent.reads), timeline.written[agent.name]
    if not there or not written:
        return 0.0
    spans = [span for span in timeline.spans if span.agent == agent.name]
    return sum((1 - sum(s.read) / there) * s.output_tokens for s in spans) / written


def unread_of_played(
    pipeline: Pipeline, played: Played, requests: Sequence[RequestShape]
) -> Floats:
    """The same of each of the ``requests`` that were ``played`` as tables of calls."""
    order, records = pipeline.order, played.records
    agents = [order.index(agent) for agent in pipeline.readers]
    places = records["request"] * len(order) + records["agent"]
    written = np.maximum(played.roles["written"][places], 1)
    left = _left_of_rows(pipeline, played, requests)[played.rows_of_records]
    missed = left * records["written"] / written
    missed[~np.isin(records["agent"], agents)] = 0.0
    found = np.bincount(records["request"], missed, len(requests))
    return found / max(len(agents), 1)


def _left_of_rows(pipeline: Pipeline, played: Played, requests: Sequence[RequestShape]) -> Floats:
    """Of each row of the tables: the share of its agent's sources that it has not read."""
    order, tables = pipeline.order, played.tables
    counts = np.diff(tables.agent_rows)
    agents = np.repeat(np.arange(len(counts)) % len(order), counts)
    numbers = np.repeat(np.arange(len(counts)) // len(order), counts)
    sums = np.concatenate([[0], np.cumsum(tables.rows["goal"])])[tables.agent_rows]
    written = np.diff(sums).reshape(-1, len(order))
    # Requests that play the same table are alike.
    firsts = [requests[n] for n in np.unique(played.requests["table"], return_index=True)[1]]
    lengths = [[min(one.output_tokens[a.name], a.max_tokens) for a in order] for one in firsts]
    whole = np.asarray(lengths, dtype=np.int64)
    left = np.zeros(len(tables.rows))
    for agent in pipeline.readers:
        rows = np.flatnonzero(agents == order.index(agent))
        sources = [order.index(pipeline[name]) for name in agent.reads]
        there, every = written[:, sources][numbers[rows]], whole[:, sources].sum(axis=1)
        read = np.minimum(tables.rows["level"][rows][:, None], there).sum(axis=1)
        all_of_it = every[numbers[rows]]
        left[rows] = np.where(all_of_it > 0, 1 - read / np.maximum(all_of_it, 1), 0.0)
    return left
