"""Requests that play their tables of calls on a pool: the compiled event loop.

It says when a row of a table starts (its agent's row before it has ended, and every source has so
many tokens or has ended), and the one thing that a table cannot say because it depends on the
clock: what nobody reads any more is cancelled. ``tests/test_tables.py`` holds it to the conductor.
"""

from __future__ import annotations

from typing import Any

from simulator.compiled import replica_pool as replica_pool
from simulator.compiled.call_tables import THE_END
from simulator.compiled.loop_state import (
    CANCELLED,
    FREE,
    LENGTH,
    NEXT_ARRIVAL,
    NEXT_REQUEST,
    OVER,
    SOON_COUNT,
    SOON_FIRST,
    STOP,
    WAITS,
    WRITES,
    LoopState,
)
from simulator.compiled.replica_pool import BEGIN, DELIVERY, NOW, ReplicaPool
from simulator.core.calls import ENDED, NEW, Calls
from simulator.core.compiling import compiled
from simulator.core.content import fill_hashes
from simulator.core.iterations import NEVER
from simulator.event_queue import ARRIVAL, TIMER
from staircase.bounds import LAST_PS

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

# A kind of event, beside those of ``simulator.compiled.replica_pool``.
REQUEST_ARRIVES = 9
# What ``play`` returns.
FINISHED, PAUSED, NEEDS_SPACE = 0, 1, 2


@compiled
def play(loop: LoopState, pool: ReplicaPool, calls: Calls, events: int) -> int:
    """Plays so many events, or to the end, or until there may be too little space."""
    spare = (len(pool.named) + 1) * len(loop.agents.engine)
    for _ in range(events):
        if loop.cells[FREE] < spare:
            return NEEDS_SPACE
        if not _step(loop, pool, calls):
            return FINISHED
    return PAUSED


@compiled
def _step(loop: LoopState, pool: ReplicaPool, calls: Calls) -> bool:
    """The next event; False if there is none, or it would be too late."""
    now_ps, priority, kind, number = replica_pool.next_event(pool)
    arrival_ps = _next_arrival(loop)
    if arrival_ps <= now_ps:
        now_ps, priority, kind = arrival_ps, ARRIVAL, REQUEST_ARRIVES
    if loop.cells[SOON_COUNT] > 0 and (now_ps > pool.clock[NOW] or priority > TIMER):
        _do_soon(loop, pool, calls)
        return True
    if now_ps > LAST_PS:
        return False
    if kind == BEGIN:
        replica_pool.begin(pool, calls, number)
        return True
    replica_pool.move_clock(pool, now_ps, priority)
    if kind == REQUEST_ARRIVES:
        _begin_request(loop, pool, calls)
    elif kind == DELIVERY:
        _deliver(loop, pool, calls, number)
    else:
        _end_iterations(loop, pool, calls, number)
    return True


@compiled
def _next_arrival(loop: LoopState) -> int:
    place = loop.cells[NEXT_ARRIVAL]
    if loop.is_closed or place == len(loop.requests.table):
        return NEVER
    return loop.requests.arrival_ps[place]


@compiled
def _begin_request(loop: LoopState, pool: ReplicaPool, calls: Calls) -> None:
    """The next request begins, if any is left."""
    request = loop.cells[NEXT_ARRIVAL]
    if request < len(loop.requests.table):
        loop.cells[NEXT_ARRIVAL] = request + 1
        loop.requests.arrival_ps[request] = pool.clock[NOW]
        _advance(loop, pool, calls, request)


@compiled
def _do_soon(loop: LoopState, pool: ReplicaPool, calls: Calls) -> None:
    first = loop.cells[SOON_FIRST]
    loop.cells[SOON_FIRST] = (first + 1) % len(loop.soon)
    loop.cells[SOON_COUNT] -= 1
    record = loop.soon[first]
    if record == NEXT_REQUEST:
        _begin_request(loop, pool, calls)
    elif loop.records.slot[record] >= 0:
        slot = loop.records.slot[record]
        if replica_pool.cancel(pool, calls, slot, loop.records.replica[record]):
            _end_call(loop, pool, calls, slot)


@compiled
def _soon(loop: LoopState, what: int) -> None:
    place = (loop.cells[SOON_FIRST] + loop.cells[SOON_COUNT]) % len(loop.soon)
    loop.soon[place] = what
    loop.cells[SOON_COUNT] += 1


@compiled
def _deliver(loop: LoopState, pool: ReplicaPool, calls: Calls, engine: int) -> None:
    """A call reaches its replica, unless it was cancelled on the way."""
    record = replica_pool.delivered(pool, engine)
    if loop.records.slot[record] >= 0:
        replica_pool.arrive(pool, calls, loop.records.slot[record], loop.records.replica[record])


@compiled
def _end_iterations(loop: LoopState, pool: ReplicaPool, calls: Calls, replica: int) -> None:
    for place in range(replica_pool.end(pool, calls, replica)):
        slot = pool.named[place]
        record = loop.occupants[slot]
        if calls.done[slot] == calls.watch[slot]:
            _handle(loop, pool, calls, loop.records.request[record])
        if calls.state[slot] == ENDED:
            _end_call(loop, pool, calls, slot)
    replica_pool.begin_soon(pool, replica)


@compiled
def _handle(loop: LoopState, pool: ReplicaPool, calls: Calls, request: int) -> None:
    if loop.requests.is_done[request] == 0:
        _advance(loop, pool, calls, request)


@compiled
def _advance(loop: LoopState, pool: ReplicaPool, calls: Calls, request: int) -> None:
    """Starts every call of the request whose row may start, in the order of the agents."""
    agents = len(loop.agents.engine)
    first = request * agents
    for agent in range(agents):
        loop.there[agent] = _written(loop, pool, calls, first + agent)
        loop.wanted[agent] = THE_END
    for agent in range(agents):
        if loop.roles.state[first + agent] == WAITS and _may_start(loop, first, agent):
            _start(loop, pool, calls, request, agent)
    for agent in range(agents):
        if loop.wanted[agent] < THE_END or loop.roles.state[first + agent] == WRITES:
            _watch(loop, pool, calls, first, agent)


@compiled
def _written(loop: LoopState, pool: ReplicaPool, calls: Calls, place: int) -> int:
    """Tokens that an agent has written by now."""
    there = loop.roles.written[place]
    if loop.roles.state[place] == WRITES:
        record = loop.roles.record[place]
        slot = loop.records.slot[record]
        there += replica_pool.written(pool, calls, slot, loop.records.replica[record])
    return there


@compiled
def _may_start(loop: LoopState, first: int, agent: int) -> bool:
    """Whether every source is there; notes which count of the others is waited for."""
    level = loop.tables.rows.level[loop.roles.row[first + agent]]
    may = True
    for place in range(loop.agents.source_rows[agent], loop.agents.source_rows[agent + 1]):
        source = loop.agents.sources[place]
        if loop.roles.state[first + source] != OVER and loop.there[source] < level:
            loop.wanted[source] = min(loop.wanted[source], level)
            may = False
    return may


@compiled
def _watch(loop: LoopState, pool: ReplicaPool, calls: Calls, first: int, agent: int) -> None:
    """Its open call stops at the next count that a reader waits for."""
    if loop.wanted[agent] == THE_END or loop.roles.state[first + agent] != WRITES:
        return
    record = loop.roles.record[first + agent]
    tokens = loop.wanted[agent] - loop.roles.written[first + agent]
    slot = loop.records.slot[record]
    if calls.watch[slot] != tokens:
        replica_pool.watch(pool, calls, slot, loop.records.replica[record], tokens)


@compiled
def _start(loop: LoopState, pool: ReplicaPool, calls: Calls, request: int, agent: int) -> None:
    requests, roles, records = loop.requests, loop.roles, loop.records
    place = request * len(loop.agents.engine) + agent
    row, engine = roles.row[place], loop.agents.engine[agent]
    record = roles.record[place]
    loop.cells[FREE] -= 1
    slot = loop.slots[loop.cells[FREE]]
    _fill(loop, pool, calls, slot, request, agent, row)
    loop.occupants[slot] = record
    roles.state[place] = WRITES
    requests.open_calls[request] += 1
    replica = replica_pool.route(pool, engine, roles.home[place])
    roles.home[place] = replica
    records.number[record] = requests.call_count[request]
    records.slot[record] = slot
    records.request[record], records.agent[record] = request, agent
    records.replica[record] = replica
    records.submitted_ps[record] = pool.clock[NOW]
    requests.call_count[request] += 1
    if pool.call_ps[engine] > 0:
        replica_pool.post(pool, engine, record)
    else:
        replica_pool.arrive(pool, calls, slot, replica)
    if loop.tables.rows.is_last[row] == 1:
        _cancel_needless(loop, request)


@compiled
def _fill(
    loop: LoopState, pool: ReplicaPool, calls: Calls, slot: int, request: int, agent: int, row: int
) -> None:
    """Makes a row of ``Calls`` of a row of the table."""
    rows = loop.tables.rows
    calls.prompt[slot], calls.goal[slot] = rows.prompt[row], rows.goal[row]
    calls.outputs[slot] = rows.outputs[row]
    calls.priority[slot] = loop.agents.priority[agent]
    calls.state[slot] = NEW
    calls.computed[slot] = calls.done[slot] = calls.cached[slot] = calls.held[slot] = 0
    calls.planned[slot] = calls.is_cancelled[slot] = calls.busy_ps[slot] = 0
    calls.watch[slot] = calls.started_ps[slot] = calls.ended_ps[slot] = -1
    calls.times_start[slot] = -1
    if loop.times[row] >= 0:
        calls.times_start[slot] = loop.requests.first_time[request] + loop.times[row]
    block_tokens = pool.block_tokens[loop.agents.engine[agent]]
    if block_tokens > 0:
        fill_hashes(
            loop.tables.segments,
            rows.first_segment[row],
            rows.segments[row],
            rows.own_segment[row],
            loop.common_texts + request * loop.texts,
            block_tokens,
            calls.hashes[calls.hash_start[slot] :],
        )


@compiled
def _end_call(loop: LoopState, pool: ReplicaPool, calls: Calls, slot: int) -> None:
    record = loop.occupants[slot]
    request, agent = loop.records.request[record], loop.records.agent[record]
    place = request * len(loop.agents.engine) + agent
    _record(loop, calls, slot, record, loop.roles.row[place])
    loop.slots[loop.cells[FREE]] = slot
    loop.cells[FREE] += 1
    loop.roles.written[place] += loop.records.written[record]
    loop.requests.open_calls[request] -= 1
    if _goes_on(loop, request, agent):
        loop.roles.state[place] = WAITS
        loop.roles.row[place] += 1
        loop.roles.record[place] += 1
    else:
        _end_agent(loop, pool, request, agent)
    _handle(loop, pool, calls, request)
    is_over = loop.requests.is_done[request] == 1 and loop.requests.open_calls[request] == 0
    if is_over and loop.is_closed:
        _soon(loop, NEXT_REQUEST)


@compiled
def _record(loop: LoopState, calls: Calls, slot: int, record: int, row: int) -> None:
    records = loop.records
    started, ended = calls.started_ps[slot], calls.ended_ps[slot]
    records.slot[record] = -1
    records.started_ps[record] = ended if started < 0 else started
    records.ended_ps[record] = ended
    records.busy_ps[record] = calls.busy_ps[slot]
    records.cached[record] = calls.cached[slot]
    records.written[record] = min(calls.done[slot], calls.goal[slot])
    if calls.done[slot] < calls.outputs[slot]:
        records.reason[record] = CANCELLED
    else:
        records.reason[record] = STOP if loop.tables.rows.ends_early[row] == 1 else LENGTH


@compiled
def _goes_on(loop: LoopState, request: int, agent: int) -> bool:
    """Whether the agent has another row, and somebody to read it."""
    row = loop.roles.row[request * len(loop.agents.engine) + agent]
    table = loop.requests.table[request] * len(loop.agents.engine) + agent
    if row + 1 == loop.tables.agent_rows[table + 1] or loop.requests.is_done[request] == 1:
        return False
    return _is_needed(loop, request, agent)


@compiled
def _end_agent(loop: LoopState, pool: ReplicaPool, request: int, agent: int) -> None:
    loop.roles.state[request * len(loop.agents.engine) + agent] = OVER
    if agent == loop.answer and loop.requests.is_done[request] == 0:
        loop.requests.is_done[request] = 1
        loop.requests.completed_ps[request] = pool.clock[NOW]
    _cancel_needless(loop, request)


@compiled
def _cancel_needless(loop: LoopState, request: int) -> None:
    """Ends every agent whose text nobody will read, readers before their sources."""
    agents = len(loop.agents.engine)
    for agent in range(agents - 1, -1, -1):
        place = request * agents + agent
        state = loop.roles.state[place]
        if state == OVER or _is_needed(loop, request, agent):
            continue
        if state == WAITS:
            loop.roles.state[place] = OVER
            continue
        record = loop.roles.record[place]
        if loop.records.is_cancelled[record] == 0:
            loop.records.is_cancelled[record] = 1
            _soon(loop, record)


@compiled
def _is_needed(loop: LoopState, request: int, agent: int) -> bool:
    """Whether anybody may still want more of its text."""
    if agent == loop.answer:
        return loop.requests.is_done[request] == 0
    for place in range(loop.agents.reader_rows[agent], loop.agents.reader_rows[agent + 1]):
        reader = request * len(loop.agents.engine) + loop.agents.readers[place]
        state = loop.roles.state[reader]
        if state == WAITS:
            return True
        if state == WRITES and loop.tables.rows.is_last[loop.roles.row[reader]] == 0:
            return True
    return False
