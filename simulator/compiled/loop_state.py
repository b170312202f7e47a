"""What the compiled event loop plays: requests, their tables of calls, and what became of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from simulator.compiled.call_tables import CallTables, readers_of, sources_of
from simulator.compiled.workload_tables import WorkloadTables
from simulator.core.calls import columns
from simulator.des.batching import BatchingSetup
from staircase.pipeline import Pipeline
from staircase.workload import Workload

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

# What an agent is doing.
WAITS, WRITES, OVER = 0, 1, 2
# How a call ended.
STOP, LENGTH, CANCELLED = 0, 1, 2
# Cells of LoopState.cells.
NEXT_ARRIVAL, SOON_FIRST, SOON_COUNT, FREE = 0, 1, 2, 3
# In LoopState.soon: the next request begins; other values are calls to be cancelled.
NEXT_REQUEST = -1


# One row for each request.
#   table         which table it plays
#   arrival_ps    when it arrives; negative until it is known
#   first_record  first of its records: one for each row of its table
#   first_time    first of its cells in ``Calls.times_ps``
REQUEST = columns(
    "table",
    "arrival_ps",
    "completed_ps",
    "first_record",
    "first_time",
    "open_calls",
    "call_count",
    "is_done",
)
# One row for each (request, agent).
#   row      the row of the tables that it plays or waits for
#   record   the record of that row
#   written  tokens of its calls that have ended
#   home     the replica of its last call, or -1
ROLE = columns("state", "row", "record", "written", "home")
# What became of a row of a request's table.
#   number   in the order in which the request's calls started; -1 if it never did
#   slot     its row in ``Calls`` while it is open, else -1
RECORD = columns(
    "number",
    "request",
    "agent",
    "slot",
    "replica",
    "submitted_ps",
    "started_ps",
    "ended_ps",
    "busy_ps",
    "cached",
    "written",
    "reason",
    "is_cancelled",
)


class Agents(NamedTuple):
    """The pipeline's agents, sources before their readers.

    Attributes:
        engine, priority: by agent.
        sources, readers: flat; those of agent i are ``sources[source_rows[i]:source_rows[i + 1]]``.
    """

    engine: Ints
    priority: Ints
    sources: Ints
    source_rows: Ints
    readers: Ints
    reader_rows: Ints


class LoopState(NamedTuple):
    """Everything that the loop needs.

    Attributes:
        times: by row of the tables: the first of its cells in a request's token times, or -1.
        slots: free rows of ``Calls``, a stack.
        occupants: by row of ``Calls``: the record of its call.
        soon: a ring of what is to happen at once, but after the event under way.
        there, wanted: scratch, by agent.
        texts, common_texts: how many texts the tables name: of one request, and of all.
        is_closed: a request begins when another is over, not at times of its own.
    """

    agents: Agents
    tables: CallTables
    times: Ints
    requests: Any
    roles: Any
    records: Any
    slots: Ints
    occupants: Ints
    soon: Ints
    cells: Ints
    there: Ints
    wanted: Ints
    texts: int
    common_texts: int
    is_closed: bool
    answer: int


def with_slots(loop: LoopState, before: int, slots: int) -> LoopState:
    """The loop with more rows of ``Calls`` to give away."""
    free = int(loop.cells[FREE])
    stack = np.zeros(slots, dtype=np.int64)
    stack[:free] = loop.slots[:free]
    stack[free : free + slots - before] = np.arange(before, slots)
    loop.cells[FREE] = free + slots - before
    occupants = np.zeros(slots, dtype=np.int64)
    occupants[:before] = loop.occupants
    count, first = int(loop.cells[SOON_COUNT]), int(loop.cells[SOON_FIRST])
    soon = np.zeros(max(2 * slots, len(loop.soon)), dtype=np.int64)
    soon[:count] = loop.soon[(first + np.arange(count)) % len(loop.soon)]
    loop.cells[SOON_FIRST] = 0
    return loop._replace(slots=stack, occupants=occupants, soon=soon)


def make_loop(
    found: WorkloadTables,
    setups: Sequence[BatchingSetup],
    workload: Workload,
    keeps_all_times: bool,
) -> tuple[LoopState, int]:
    """A loop, and how many token times it keeps."""
    tables, pipeline, numbers = found.tables, found.pipeline, found.numbers
    agents = len(pipeline.order)
    answer = pipeline.order.index(pipeline[pipeline.answer])
    row_times, sizes = _row_times(tables, agents, answer, keeps_all_times)
    times = np.cumsum([0, *sizes[numbers]])
    requests, roles = _make_requests(tables, workload, numbers, times[:-1], agents)
    soon = [] if workload.arrivals_ps is not None else [NEXT_REQUEST] * workload.at_once
    cells = np.zeros(4, dtype=np.int64)
    cells[SOON_COUNT] = len(soon)
    empty = np.zeros(0, dtype=np.int64)
    loop = LoopState(
        _make_agents(pipeline, setups),
        tables,
        row_times,
        requests,
        roles,
        _make_records(int(np.sum(np.diff(tables.agent_rows[::agents])[numbers]))),
        slots=empty,
        occupants=empty,
        soon=np.asarray(soon, dtype=np.int64),
        cells=cells,
        there=np.zeros(agents, dtype=np.int64),
        wanted=np.zeros(agents, dtype=np.int64),
        texts=len(found.texts.own),
        common_texts=len(found.texts.common),
        is_closed=workload.arrivals_ps is None,
        answer=answer,
    )
    return loop, int(times[-1])


def _make_agents(pipeline: Pipeline, setups: Sequence[BatchingSetup]) -> Agents:
    engines = [pipeline.engines.index(agent.engine) for agent in pipeline.order]
    priorities = [
        dict(setups[engine].priorities).get(agent.name, 0)
        for engine, agent in zip(engines, pipeline.order, strict=True)
    ]
    return Agents(
        np.asarray(engines, dtype=np.int64),
        np.asarray(priorities, dtype=np.int64),
        *sources_of(pipeline),
        *readers_of(pipeline),
    )


def _row_times(tables: CallTables, agents: int, answer: int, keeps_all: bool) -> tuple[Ints, Ints]:
    """Where each row's token times begin in its request's, and how many a table's requests have."""
    goal, agent_rows = tables.rows["goal"], tables.agent_rows
    before = np.cumsum(goal) - goal
    low, high = (0, agents) if keeps_all else (answer, answer + 1)
    starts, stops = agent_rows[low:-1:agents], agent_rows[high::agents]
    counts = stops - starts
    inside = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.repeat(starts, counts) + inside
    found = np.full(len(goal), -1, dtype=np.int64)
    found[rows] = before[rows] - np.repeat(before[starts], counts)
    return found, before[stops] - before[starts]


def _make_requests(
    tables: CallTables, workload: Workload, numbers: Ints, times: Ints, agents: int
) -> tuple[Any, Any]:
    """Rows of type REQUEST and of type ROLE, before anything has happened."""
    requests = np.zeros(len(numbers), dtype=REQUEST)
    arrivals = workload.arrivals_ps
    requests["arrival_ps"] = -1 if arrivals is None else np.asarray(arrivals, dtype=np.int64)
    requests["table"], requests["first_time"] = numbers, times
    sizes = np.diff(tables.agent_rows[::agents])[numbers]
    requests["first_record"] = np.cumsum(sizes) - sizes
    roles = np.zeros((len(numbers), agents), dtype=ROLE)
    first = numbers[:, None] * agents + np.arange(agents)
    roles["row"] = tables.agent_rows[first]
    # Who is not asked has no rows.
    roles["state"] = np.where(np.diff(tables.agent_rows)[first] > 0, WAITS, OVER)
    inside = roles["row"] - roles["row"][:, :1]
    roles["record"] = requests["first_record"][:, None] + inside
    roles["home"] = -1
    return requests, roles.ravel()


def _make_records(count: int) -> Any:
    records = np.zeros(count, dtype=RECORD)
    records["number"] = records["slot"] = -1
    return records
