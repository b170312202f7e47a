"""One replica that serves calls as vLLM v1 does: its limits, seats and queue.

The compiled core of the simulator is this file, ``simulator.core.scheduling`` (who gets what in an
iteration) and ``simulator.core.iterations`` (how long it takes and what it yields). It is driven by
an event loop: ``submit`` here, ``begin``, ``cut``, ``cancel`` and ``end`` there.

Times are integer picoseconds. ``docs/invariants.md`` numbers what ``check_integrity`` recounts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from simulator.core.blocks import Blocks, make_blocks, release
from simulator.core.calls import WAITING, Calls
from simulator.core.compiling import compiled
from simulator.core.cost import Cost

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

# Cells of Replica.now.
START, UNTIL, ITERATIONS, CONTEXT = 0, 1, 2, 3
RUNNING_COUNT, WAITING_COUNT, BUSY, PREEMPTIONS, ARRIVALS = 4, 5, 6, 7, 8
# When the last iteration that ended began, and the seats that it left free.
BEGAN, SEATS = 9, 10
NOW_CELLS = 11
IDLE = -1


class Replica(NamedTuple):
    """One replica's limits and state.

    Attributes:
        now: cells START … SEATS: the run of iterations under way, and counts.
        running, waiting: numbers of calls in the order of their admission or arrival.
        max_chunk: tokens of one call in an iteration.
        uses_blocks: whether KV is limited.
        is_ahead: an iteration is scheduled while the one before it runs (``scheduling.admit``).
        chunks_prompts: what is left of an iteration's budget may go to a part of a prompt.
        prefills_first: while there are prompts to compute, nobody decodes.
    """

    max_tokens: int
    max_chunk: int
    max_sequences: int
    block_tokens: int
    uses_blocks: bool
    caches_prefixes: bool
    by_priority: bool
    is_ahead: bool
    chunks_prompts: bool
    prefills_first: bool
    cost: Cost
    blocks: Blocks
    now: Ints
    running: Ints
    waiting: Ints


def make_replica(
    cost: Cost,
    *,
    max_tokens: int,
    max_sequences: int,
    max_chunk: int | None = None,
    calls: int = 64,
    blocks: int | None = None,
    block_tokens: int = 16,
    caches_prefixes: bool = True,
    by_priority: bool = False,
    is_ahead: bool = False,
    chunks_prompts: bool = True,
    prefills_first: bool = False,
) -> Replica:
    """An idle replica; ``blocks`` of None leaves KV without limit and without prefix cache."""
    now = np.zeros(NOW_CELLS, dtype=np.int64)
    now[UNTIL] = IDLE
    return Replica(
        max_tokens,
        max_chunk or max_tokens,
        max_sequences,
        block_tokens,
        blocks is not None,
        caches_prefixes and blocks is not None,
        by_priority,
        is_ahead,
        chunks_prompts,
        prefills_first,
        cost,
        make_blocks(blocks or 1),
        now,
        np.zeros(max_sequences, dtype=np.int64),
        np.zeros(calls + 1, dtype=np.int64),
    )


def with_room(replica: Replica) -> Replica:
    """The same replica with room for one more waiting call."""
    calls = int(replica.now[WAITING_COUNT] + replica.now[RUNNING_COUNT]) + 1
    return replica if calls < len(replica.waiting) else with_places(replica, 2 * calls)


def with_places(replica: Replica, calls: int) -> Replica:
    """The same replica with room for so many waiting calls."""
    waiting = np.zeros(calls + 1, dtype=np.int64)
    count = replica.now[WAITING_COUNT]
    waiting[:count] = replica.waiting[:count]
    return replica._replace(waiting=waiting)


@compiled
def submit(replica: Replica, calls: Calls, call: int, now_ps: int) -> None:
    """A call arrives."""
    calls.state[call] = WAITING
    calls.arrival[call] = replica.now[ARRIVALS]
    replica.now[ARRIVALS] += 1
    calls.submitted_ps[call] = now_ps
    insert(replica, calls, call)


@compiled
def insert(replica: Replica, calls: Calls, call: int) -> None:
    """Into the waiting queue, which is sorted: first come, or most urgent, first."""
    count = replica.now[WAITING_COUNT]
    place = count
    while place > 0 and is_sooner(replica, calls, call, replica.waiting[place - 1]):
        replica.waiting[place] = replica.waiting[place - 1]
        place -= 1
    replica.waiting[place] = call
    replica.now[WAITING_COUNT] = count + 1


@compiled
def is_sooner(replica: Replica, calls: Calls, one: int, other: int) -> bool:
    """Lower priority numbers go first where the replica heeds them, then earlier arrivals."""
    if replica.by_priority and calls.priority[one] != calls.priority[other]:
        return calls.priority[one] < calls.priority[other]
    return calls.arrival[one] < calls.arrival[other]


@compiled
def leave(replica: Replica, calls: Calls, call: int) -> int:
    """Frees a running call's seat and blocks."""
    count = replica.now[RUNNING_COUNT]
    seat = 0
    while replica.running[seat] != call:
        seat += 1
    close_gap(replica.running, seat, count)
    replica.now[RUNNING_COUNT] = count - 1
    first = calls.table_start[call]
    for place in range(calls.held[call] - 1, -1, -1):
        release(replica.blocks, calls.table[first + place])
    calls.held[call] = 0
    return seat


@compiled
def close_gap(line: Ints, place: int, count: int) -> None:
    """Those behind ``place`` move up by one."""
    for later in range(place, count - 1):
        line[later] = line[later + 1]


@compiled
def missing(calls: Calls, call: int) -> int:
    """Tokens of its text that are not computed: 1 while it decodes."""
    return calls.prompt[call] + calls.done[call] - calls.computed[call]


@compiled
def is_decoding(calls: Calls, call: int) -> bool:
    """Whether all that is missing is the token that it wrote last."""
    return calls.computed[call] >= calls.prompt[call] and missing(calls, call) == 1
