"""All replicas of all engines in one compiled event loop's hands: time, turns, routing, delivery.

What ``simulator.des.batching`` and ``simulator.event_queue`` do on SimPy, without it. Events at
equal times happen in the same order: calls that arrive, what is to happen "at once"
(cancellations), then ends of iterations by replica number, then beginnings by replica number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from simulator.compiled.packed_replicas import Arena, make_arena, now_of, replica_at, unpacked
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

# Cells of Fleet.clock.
NOW, TURN_PS, TURN_PRIORITY, DELIVERIES = 0, 1, 2, 3
# Kinds of events.
DELIVERY, END, BEGIN = 0, 1, 2


class Fleet(NamedTuple):
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

    arena: Arena
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


def make_fleet(
    engines: Sequence[Sequence[Replica]],
    is_affine: Sequence[bool],
    call_ps: Sequence[int],
    calls: int,
) -> Fleet:
    """A fleet of idle replicas, with room for so many calls at a time."""
    flat = [with_places(replica, calls) for replicas in engines for replica in replicas]
    ring = np.zeros((len(engines), calls), dtype=np.int64)
    arena = make_arena(flat)
    return Fleet(
        arena,
        now_of(arena),
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


def with_space(fleet: Fleet, calls: int) -> Fleet:
    """The same fleet with room for so many calls at a time."""
    larger = np.zeros((len(fleet.due_ps), calls), dtype=np.int64)
    rings = {name: larger.copy() for name in ("due_ps", "due_call", "due_order")}
    size = len(fleet.due_ps[0])
    for engine, (first, count) in enumerate(fleet.due_span.tolist()):
        places = (first + np.arange(count)) % size
        for name, ring in rings.items():
            ring[engine, :count] = getattr(fleet, name)[engine, places]
    fleet.due_span[:, 0] = 0
    arena = make_arena([with_places(replica, calls) for replica in unpacked(fleet.arena)])
    return fleet._replace(arena=arena, now=now_of(arena), **rings)


@compiled
def next_event(fleet: Fleet) -> tuple[int, int, int, int]:
    """The next event's (time, priority, kind, number of engine or replica); NEVER if none."""
    best_ps, best_priority, kind, number, order = NEVER, 0, END, -1, 0
    for engine in range(len(fleet.due_span)):
        first, count = fleet.due_span[engine, 0], fleet.due_span[engine, 1]
        if count > 0:
            due, rank = fleet.due_ps[engine, first], fleet.due_order[engine, first]
            if due < best_ps or (due == best_ps and rank < order):
                best_ps, kind, number, order = due, DELIVERY, engine, rank
    for replica in range(len(fleet.now)):
        until = fleet.now[replica, UNTIL]
        priority = ITERATION_END + replica
        if until != IDLE and (until < best_ps or (until == best_ps and priority < best_priority)):
            best_ps, best_priority, kind, number = until, priority, END, replica
        until, priority = fleet.clock[NOW], ITERATION_BEGIN + replica
        if fleet.begins[replica] == 1 and (
            until < best_ps or (until == best_ps and priority < best_priority)
        ):
            best_ps, best_priority, kind, number = until, priority, BEGIN, replica
    return best_ps, best_priority, kind, number


@compiled
def move_clock(fleet: Fleet, now_ps: int, priority: int) -> None:
    """An event of this priority happens now."""
    clock = fleet.clock
    later = clock[TURN_PS] == now_ps and clock[TURN_PRIORITY] > priority
    clock[NOW] = now_ps
    clock[TURN_PS] = now_ps
    clock[TURN_PRIORITY] = clock[TURN_PRIORITY] if later else priority


@compiled
def written(fleet: Fleet, calls: Calls, call: int, replica: int) -> int:
    """Tokens that a call has written by now; those of this very time if it is their turn."""
    if fleet.now[replica, UNTIL] == IDLE or fleet.now[replica, ITERATIONS] == 1:
        return min(calls.done[call], calls.goal[call])
    clock = fleet.clock
    had_turn = clock[TURN_PS] == clock[NOW] and ITERATION_END + replica <= clock[TURN_PRIORITY]
    until = clock[NOW] if had_turn else clock[NOW] - 1
    return iterations.written_by(replica_at(fleet.arena, replica), calls, call, until)


@compiled
def watch(fleet: Fleet, calls: Calls, call: int, replica: int, tokens: int) -> None:
    """Stops the call's run of iterations at so many tokens."""
    calls.watch[call] = tokens
    if fleet.now[replica, UNTIL] != IDLE and fleet.now[replica, ITERATIONS] > 1:
        iterations.cut_at_count(replica_at(fleet.arena, replica), calls, call, tokens)


@compiled
def route(fleet: Fleet, engine: int, home: int) -> int:
    """The replica with the fewest unfinished calls, or ``home``, if any, where that counts."""
    if fleet.is_affine[engine] == 1 and home >= 0:
        return home
    best, least = -1, 0
    for replica in range(fleet.first_replica[engine], fleet.first_replica[engine + 1]):
        load = fleet.now[replica, RUNNING_COUNT] + fleet.now[replica, WAITING_COUNT]
        if best < 0 or load < least:
            best, least = replica, load
    return best


@compiled
def post(fleet: Fleet, engine: int, call: int) -> None:
    """Something on its way to the engine, which it takes the engine's ``call_ps`` to reach."""
    first, count = fleet.due_span[engine, 0], fleet.due_span[engine, 1]
    place = (first + count) % fleet.due_ps.shape[1]
    fleet.due_ps[engine, place] = fleet.clock[NOW] + fleet.call_ps[engine]
    fleet.due_call[engine, place] = call
    fleet.due_order[engine, place] = fleet.clock[DELIVERIES]
    fleet.clock[DELIVERIES] += 1
    fleet.due_span[engine, 1] = count + 1


@compiled
def delivered(fleet: Fleet, engine: int) -> int:
    """What was posted first."""
    first = fleet.due_span[engine, 0]
    fleet.due_span[engine, 0] = (first + 1) % fleet.due_ps.shape[1]
    fleet.due_span[engine, 1] -= 1
    return fleet.due_call[engine, first]


@compiled
def arrive(fleet: Fleet, calls: Calls, call: int, replica: int) -> None:
    """A call reaches its replica."""
    core = replica_at(fleet.arena, replica)
    submit(core, calls, call, fleet.clock[NOW])
    iterations.cut(core, calls, fleet.clock[NOW])
    begin_soon(fleet, replica)


@compiled
def begin_soon(fleet: Fleet, replica: int) -> None:
    """After everything else that happens at this time."""
    if fleet.now[replica, UNTIL] == IDLE:
        fleet.begins[replica] = 1


@compiled
def begin(fleet: Fleet, calls: Calls, replica: int) -> None:
    fleet.begins[replica] = 0
    iterations.begin(replica_at(fleet.arena, replica), calls, fleet.clock[NOW])


@compiled
def end(fleet: Fleet, calls: Calls, replica: int) -> int:
    """Ends the replica's iterations; how many calls ``fleet.named`` names for it."""
    return iterations.end(replica_at(fleet.arena, replica), calls, fleet.named)


@compiled
def cancel(fleet: Fleet, calls: Calls, call: int, replica: int) -> bool:
    """Whether the call ended at once; else it ends with its iteration."""
    if calls.state[call] == NEW:
        calls.ended_ps[call] = fleet.clock[NOW]
        return True
    return iterations.cancel(replica_at(fleet.arena, replica), calls, call, fleet.clock[NOW])
