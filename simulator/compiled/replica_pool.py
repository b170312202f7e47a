"""All replicas of all engines in one compiled event loop's hands: time, turns, routing, delivery.

What ``simulator.des.batching`` and ``simulator.event_queue`` do on SimPy, without it. Events at
equal times happen in the same order: calls that arrive, what is to happen "at once"
(cancellations), then ends of iterations by replica number, then beginnings by replica number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from simulator.compiled.packed_replicas import (
    PackedReplicas,
    now_of,
    pack_replicas,
    replica_at,
    unpacked,
)
from simulator.core import iterations
from simulator.core.calls import NEW, Calls
from simulator.core.compiling import compiled
from simulator.core.iterations import NEVER
from simulator.core.replica import (
    IDLE,
    ITERATIONS,
    RUNNING_COUNT,
    UNTIL,
    WAITING_COUNT,
    Replica,
    submit,
    with_places,
)
from simulator.event_queue import ITERATION_BEGIN, ITERATION_END

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

# Cells of ReplicaPool.clock.
NOW, TURN_PS, TURN_PRIORITY, DELIVERIES = 0, 1, 2, 3
# Kinds of events.
DELIVERY, END, BEGIN = 0, 1, 2


class ReplicaPool(NamedTuple):
    """Replicas are numbered through all engines.

    Attributes:
        now: of each replica.
        begins: 1 where a replica is to begin as soon as everything else of this time has happened.
        first_replica: of each engine; one more cell at the end.
        is_affine, call_ps: by engine.
        block_tokens: by engine; 0 where prefixes are not cached.
        due_ps, due_call, due_order, due_span: queues of calls on their way, by engine; the span is
            (first, count) in the ring.
    """

    packed: PackedReplicas
    now: Ints
    begins: Ints
    first_replica: Ints
    is_affine: Ints
    call_ps: Ints
    block_tokens: Ints
    due_ps: Ints
    due_call: Ints
    due_order: Ints
    due_span: Ints
    clock: Ints
    named: Ints


def make_pool(
    engines: Sequence[Sequence[Replica]],
    is_affine: Sequence[bool],
    call_ps: Sequence[int],
    calls: int,
) -> ReplicaPool:
    """A pool of idle replicas, with room for so many calls at a time."""
    flat = [with_places(replica, calls) for replicas in engines for replica in replicas]
    ring = np.zeros((len(engines), calls), dtype=np.int64)
    packed = pack_replicas(flat)
    return ReplicaPool(
        packed,
        now_of(packed),
        np.zeros(len(flat), dtype=np.int64),
        np.cumsum([0, *(len(replicas) for replicas in engines)]).astype(np.int64),
        np.asarray(is_affine, dtype=np.int64),
        np.asarray(call_ps, dtype=np.int64),
        np.asarray([_block_tokens(replicas[0]) for replicas in engines], dtype=np.int64),
        ring,
        ring.copy(),
        ring.copy(),
        np.zeros((len(engines), 2), dtype=np.int64),
        np.zeros(4, dtype=np.int64),
        np.zeros(max(replica.max_sequences for replica in flat), dtype=np.int64),
    )


def _block_tokens(replica: Replica) -> int:
    return replica.block_tokens if replica.caches_prefixes else 0


def with_space(pool: ReplicaPool, calls: int) -> ReplicaPool:
    """The same pool with room for so many calls at a time."""
    larger = np.zeros((len(pool.due_ps), calls), dtype=np.int64)
    rings = {name: larger.copy() for name in ("due_ps", "due_call", "due_order")}
    size = len(pool.due_ps[0])
    for engine, (first, count) in enumerate(pool.due_span.tolist()):
        places = (first + np.arange(count)) % size
        for name, ring in rings.items():
            ring[engine, :count] = getattr(pool, name)[engine, places]
    pool.due_span[:, 0] = 0
    packed = pack_replicas([with_places(replica, calls) for replica in unpacked(pool.packed)])
    return pool._replace(packed=packed, now=now_of(packed), **rings)


@compiled
def next_event(pool: ReplicaPool) -> tuple[int, int, int, int]:
    """The next event's (time, priority, kind, number of engine or replica); NEVER if none."""
    best_ps, best_priority, kind, number, order = NEVER, 0, END, -1, 0
    for engine in range(len(pool.due_span)):
        first, count = pool.due_span[engine, 0], pool.due_span[engine, 1]
        if count > 0:
            due, rank = pool.due_ps[engine, first], pool.due_order[engine, first]
            if due < best_ps or (due == best_ps and rank < order):
                best_ps, kind, number, order = due, DELIVERY, engine, rank
    for replica in range(len(pool.now)):
        until = pool.now[replica, UNTIL]
        priority = ITERATION_END + replica
        if until != IDLE and (until < best_ps or (until == best_ps and priority < best_priority)):
            best_ps, best_priority, kind, number = until, priority, END, replica
        until, priority = pool.clock[NOW], ITERATION_BEGIN + replica
        if pool.begins[replica] == 1 and (
            until < best_ps or (until == best_ps and priority < best_priority)
        ):
            best_ps, best_priority, kind, number = until, priority, BEGIN, replica
    return best_ps, best_priority, kind, number


@compiled
def move_clock(pool: ReplicaPool, now_ps: int, priority: int) -> None:
    """An event of this priority happens now."""
    clock = pool.clock
    later = clock[TURN_PS] == now_ps and clock[TURN_PRIORITY] > priority
    clock[NOW] = now_ps
    clock[TURN_PS] = now_ps
    clock[TURN_PRIORITY] = clock[TURN_PRIORITY] if later else priority


@compiled
def written(pool: ReplicaPool, calls: Calls, call: int, replica: int) -> int:
    """Tokens that a call has written by now; those of this very time if it is their turn."""
    if pool.now[replica, UNTIL] == IDLE or pool.now[replica, ITERATIONS] == 1:
        return min(calls.done[call], calls.goal[call])
    clock = pool.clock
    had_turn = clock[TURN_PS] == clock[NOW] and ITERATION_END + replica <= clock[TURN_PRIORITY]
    until = clock[NOW] if had_turn else clock[NOW] - 1
    return iterations.written_by(replica_at(pool.packed, replica), calls, call, until)


@compiled
def watch(pool: ReplicaPool, calls: Calls, call: int, replica: int, tokens: int) -> None:
    """Stops the call's run of iterations at so many tokens."""
    calls.watch[call] = tokens
    if pool.now[replica, UNTIL] != IDLE and pool.now[replica, ITERATIONS] > 1:
        iterations.cut_at_count(replica_at(pool.packed, replica), calls, call, tokens)


@compiled
def route(pool: ReplicaPool, engine: int, home: int) -> int:
    """The replica with the fewest unfinished calls, or ``home``, if any, where that counts."""
    if pool.is_affine[engine] == 1 and home >= 0:
        return home
    best, least = -1, 0
    for replica in range(pool.first_replica[engine], pool.first_replica[engine + 1]):
        load = pool.now[replica, RUNNING_COUNT] + pool.now[replica, WAITING_COUNT]
        if best < 0 or load < least:
            best, least = replica, load
    return best


@compiled
def post(pool: ReplicaPool, engine: int, call: int) -> None:
    """Something on its way to the engine, which it takes the engine's ``call_ps`` to reach."""
    first, count = pool.due_span[engine, 0], pool.due_span[engine, 1]
    place = (first + count) % pool.due_ps.shape[1]
    pool.due_ps[engine, place] = pool.clock[NOW] + pool.call_ps[engine]
    pool.due_call[engine, place] = call
    pool.due_order[engine, place] = pool.clock[DELIVERIES]
    pool.clock[DELIVERIES] += 1
    pool.due_span[engine, 1] = count + 1


@compiled
def delivered(pool: ReplicaPool, engine: int) -> int:
    """What was posted first."""
    first = pool.due_span[engine, 0]
    pool.due_span[engine, 0] = (first + 1) % pool.due_ps.shape[1]
    pool.due_span[engine, 1] -= 1
    return pool.due_call[engine, first]


@compiled
def arrive(pool: ReplicaPool, calls: Calls, call: int, replica: int) -> None:
    """A call reaches its replica."""
    core = replica_at(pool.packed, replica)
    submit(core, calls, call, pool.clock[NOW])
    iterations.cut(core, calls, pool.clock[NOW])
    begin_soon(pool, replica)


@compiled
def begin_soon(pool: ReplicaPool, replica: int) -> None:
    """After everything else that happens at this time."""
    if pool.now[replica, UNTIL] == IDLE:
        pool.begins[replica] = 1


@compiled
def begin(pool: ReplicaPool, calls: Calls, replica: int) -> None:
    pool.begins[replica] = 0
    iterations.begin(replica_at(pool.packed, replica), calls, pool.clock[NOW])


@compiled
def end(pool: ReplicaPool, calls: Calls, replica: int) -> int:
    """Ends the replica's iterations; how many calls ``pool.named`` names for it."""
    return iterations.end(replica_at(pool.packed, replica), calls, pool.named)


@compiled
def cancel(pool: ReplicaPool, calls: Calls, call: int, replica: int) -> bool:
    """Whether the call ended at once; else it ends with its iteration."""
    if calls.state[call] == NEW:
        calls.ended_ps[call] = pool.clock[NOW]
        return True
    return iterations.cancel(replica_at(pool.packed, replica), calls, call, pool.clock[NOW])
