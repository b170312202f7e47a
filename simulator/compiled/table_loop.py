"""Requests that play their tables of calls on a fleet: the compiled event loop.

It says when a row of a table starts (its agent's row before it has ended, and every source has so
many tokens or has ended), and the one thing that a table cannot say because it depends on the
clock: what nobody reads any more is cancelled. ``tests/test_tables.py`` holds it to the conductor.
"""

from __future__ import annotations

from typing import Any

from simulator.compiled import replica_pool as fleets
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
    Game,
)
from simulator.compiled.replica_pool import BEGIN, DELIVERY, NOW, Fleet
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
def play(game: Game, fleet: Fleet, calls: Calls, events: int) -> int:
    """Plays so many events, or to the end, or until there may be too little space."""
    spare = (len(fleet.named) + 1) * len(game.crew.engine)
    for _ in range(events):
        if game.cells[FREE] < spare:
            return NEEDS_SPACE
        if not _step(game, fleet, calls):
            return FINISHED
    return PAUSED


@compiled
def _step(game: Game, fleet: Fleet, calls: Calls) -> bool:
    """The next event; False if there is none, or it would be too late."""
    now_ps, priority, kind, number = fleets.next_event(fleet)
    arrival_ps = _next_arrival(game)
    if arrival_ps <= now_ps:
        now_ps, priority, kind = arrival_ps, ARRIVAL, REQUEST_ARRIVES
    if game.cells[SOON_COUNT] > 0 and (now_ps > fleet.clock[NOW] or priority > TIMER):
        _do_soon(game, fleet, calls)
        return True
    if now_ps > LAST_PS:
        return False
    if kind == BEGIN:
        fleets.begin(fleet, calls, number)
        return True
    fleets.move_clock(fleet, now_ps, priority)
    if kind == REQUEST_ARRIVES:
        _begin_request(game, fleet, calls)
    elif kind == DELIVERY:
        _deliver(game, fleet, calls, number)
    else:
        _end_iterations(game, fleet, calls, number)
    return True


@compiled
def _next_arrival(game: Game) -> int:
    place = game.cells[NEXT_ARRIVAL]
    if game.is_closed or place == len(game.requests.table):
        return NEVER
    return game.requests.arrival_ps[place]


@compiled
def _begin_request(game: Game, fleet: Fleet, calls: Calls) -> None:
    """The next request begins, if any is left."""
    request = game.cells[NEXT_ARRIVAL]
    if request < len(game.requests.table):
        game.cells[NEXT_ARRIVAL] = request + 1
        game.requests.arrival_ps[request] = fleet.clock[NOW]
        _advance(game, fleet, calls, request)


@compiled
def _do_soon(game: Game, fleet: Fleet, calls: Calls) -> None:
    first = game.cells[SOON_FIRST]
    game.cells[SOON_FIRST] = (first + 1) % len(game.soon)
    game.cells[SOON_COUNT] -= 1
    record = game.soon[first]
    if record == NEXT_REQUEST:
        _begin_request(game, fleet, calls)
    elif game.records.slot[record] >= 0:
        slot = game.records.slot[record]
        if fleets.cancel(fleet, calls, slot, game.records.replica[record]):
            _end_call(game, fleet, calls, slot)


@compiled
def _soon(game: Game, what: int) -> None:
    place = (game.cells[SOON_FIRST] + game.cells[SOON_COUNT]) % len(game.soon)
    game.soon[place] = what
    game.cells[SOON_COUNT] += 1


@compiled
def _deliver(game: Game, fleet: Fleet, calls: Calls, engine: int) -> None:
    """A call reaches its replica, unless it was cancelled on the way."""
    record = fleets.delivered(fleet, engine)
    if game.records.slot[record] >= 0:
        fleets.arrive(fleet, calls, game.records.slot[record], game.records.replica[record])


@compiled
def _end_iterations(game: Game, fleet: Fleet, calls: Calls, replica: int) -> None:
    for place in range(fleets.end(fleet, calls, replica)):
        slot = fleet.named[place]
        record = game.occupants[slot]
        if calls.done[slot] == calls.watch[slot]:
            _handle(game, fleet, calls, game.records.request[record])
        if calls.state[slot] == ENDED:
            _end_call(game, fleet, calls, slot)
    fleets.begin_soon(fleet, replica)


@compiled
def _handle(game: Game, fleet: Fleet, calls: Calls, request: int) -> None:
    if game.requests.is_done[request] == 0:
        _advance(game, fleet, calls, request)


@compiled
def _advance(game: Game, fleet: Fleet, calls: Calls, request: int) -> None:
    """Starts every call of the request whose row may start, in the order of the agents."""
    agents = len(game.crew.engine)
    first = request * agents
    for agent in range(agents):
        game.there[agent] = _written(game, fleet, calls, first + agent)
        game.wanted[agent] = THE_END
    for agent in range(agents):
        if game.roles.state[first + agent] == WAITS and _may_start(game, first, agent):
            _start(game, fleet, calls, request, agent)
    for agent in range(agents):
        if game.wanted[agent] < THE_END or game.roles.state[first + agent] == WRITES:
            _watch(game, fleet, calls, first, agent)


@compiled
def _written(game: Game, fleet: Fleet, calls: Calls, place: int) -> int:
    """Tokens that an agent has written by now."""
    there = game.roles.written[place]
    if game.roles.state[place] == WRITES:
        record = game.roles.record[place]
        slot = game.records.slot[record]
        there += fleets.written(fleet, calls, slot, game.records.replica[record])
    return there


@compiled
def _may_start(game: Game, first: int, agent: int) -> bool:
    """Whether every source is there; notes which count of the others is waited for."""
    level = game.tables.rows.level[game.roles.row[first + agent]]
    may = True
    for place in range(game.crew.source_rows[agent], game.crew.source_rows[agent + 1]):
        source = game.crew.sources[place]
        if game.roles.state[first + source] != OVER and game.there[source] < level:
            game.wanted[source] = min(game.wanted[source], level)
            may = False
    return may


@compiled
def _watch(game: Game, fleet: Fleet, calls: Calls, first: int, agent: int) -> None:
    """Its open call stops at the next count that a reader waits for."""
    if game.wanted[agent] == THE_END or game.roles.state[first + agent] != WRITES:
        return
    record = game.roles.record[first + agent]
    tokens = game.wanted[agent] - game.roles.written[first + agent]
    slot = game.records.slot[record]
    if calls.watch[slot] != tokens:
        fleets.watch(fleet, calls, slot, game.records.replica[record], tokens)


@compiled
def _start(game: Game, fleet: Fleet, calls: Calls, request: int, agent: int) -> None:
    requests, roles, records = game.requests, game.roles, game.records
    place = request * len(game.crew.engine) + agent
    row, engine = roles.row[place], game.crew.engine[agent]
    record = roles.record[place]
    game.cells[FREE] -= 1
    slot = game.slots[game.cells[FREE]]
    _fill(game, fleet, calls, slot, request, agent, row)
    game.occupants[slot] = record
    roles.state[place] = WRITES
    requests.open_calls[request] += 1
    replica = fleets.route(fleet, engine, roles.home[place])
    roles.home[place] = replica
    records.number[record] = requests.call_count[request]
    records.slot[record] = slot
    records.request[record], records.agent[record] = request, agent
    records.replica[record] = replica
    records.submitted_ps[record] = fleet.clock[NOW]
    requests.call_count[request] += 1
    if fleet.call_ps[engine] > 0:
        fleets.post(fleet, engine, record)
    else:
        fleets.arrive(fleet, calls, slot, replica)
    if game.tables.rows.is_last[row] == 1:
        _cancel_needless(game, request)


@compiled
def _fill(
    game: Game, fleet: Fleet, calls: Calls, slot: int, request: int, agent: int, row: int
) -> None:
    """Makes a row of ``Calls`` of a row of the table."""
    rows = game.tables.rows
    calls.prompt[slot], calls.goal[slot] = rows.prompt[row], rows.goal[row]
    calls.outputs[slot] = rows.outputs[row]
    calls.priority[slot] = game.crew.priority[agent]
    calls.state[slot] = NEW
    calls.computed[slot] = calls.done[slot] = calls.cached[slot] = calls.held[slot] = 0
    calls.planned[slot] = calls.is_cancelled[slot] = calls.busy_ps[slot] = 0
    calls.watch[slot] = calls.started_ps[slot] = calls.ended_ps[slot] = -1
    calls.times_start[slot] = -1
    if game.times[row] >= 0:
        calls.times_start[slot] = game.requests.first_time[request] + game.times[row]
    block_tokens = fleet.block_tokens[game.crew.engine[agent]]
    if block_tokens > 0:
        low, high = rows.first_segment[row], rows.first_segment[row + 1]
        number = (request + 1) * game.texts
        start = calls.hash_start[slot]
        fill_hashes(game.tables.segments[low:high], number, block_tokens, calls.hashes[start:])


@compiled
def _end_call(game: Game, fleet: Fleet, calls: Calls, slot: int) -> None:
    record = game.occupants[slot]
    request, agent = game.records.request[record], game.records.agent[record]
    place = request * len(game.crew.engine) + agent
    _record(game, calls, slot, record, game.roles.row[place])
    game.slots[game.cells[FREE]] = slot
    game.cells[FREE] += 1
    game.roles.written[place] += game.records.written[record]
    game.requests.open_calls[request] -= 1
    if _goes_on(game, request, agent):
        game.roles.state[place] = WAITS
        game.roles.row[place] += 1
        game.roles.record[place] += 1
    else:
        _end_agent(game, fleet, request, agent)
    _handle(game, fleet, calls, request)
    is_over = game.requests.is_done[request] == 1 and game.requests.open_calls[request] == 0
    if is_over and game.is_closed:
        _soon(game, NEXT_REQUEST)


@compiled
def _record(game: Game, calls: Calls, slot: int, record: int, row: int) -> None:
    records = game.records
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
        records.reason[record] = STOP if game.tables.rows.ends_early[row] == 1 else LENGTH


@compiled
def _goes_on(game: Game, request: int, agent: int) -> bool:
    """Whether the agent has another row, and somebody to read it."""
    row = game.roles.row[request * len(game.crew.engine) + agent]
    table = game.requests.table[request] * len(game.crew.engine) + agent
    if row + 1 == game.tables.agent_rows[table + 1] or game.requests.is_done[request] == 1:
        return False
    return _is_needed(game, request, agent)


@compiled
def _end_agent(game: Game, fleet: Fleet, request: int, agent: int) -> None:
    game.roles.state[request * len(game.crew.engine) + agent] = OVER
    if agent == game.answer and game.requests.is_done[request] == 0:
        game.requests.is_done[request] = 1
        game.requests.completed_ps[request] = fleet.clock[NOW]
    _cancel_needless(game, request)


@compiled
def _cancel_needless(game: Game, request: int) -> None:
    """Ends every agent whose text nobody will read, readers before their sources."""
    agents = len(game.crew.engine)
    for agent in range(agents - 1, -1, -1):
        place = request * agents + agent
        state = game.roles.state[place]
        if state == OVER or _is_needed(game, request, agent):
            continue
        if state == WAITS:
            game.roles.state[place] = OVER
            continue
        record = game.roles.record[place]
        if game.records.is_cancelled[record] == 0:
            game.records.is_cancelled[record] = 1
            _soon(game, record)


@compiled
def _is_needed(game: Game, request: int, agent: int) -> bool:
    """Whether anybody may still want more of its text."""
    if agent == game.answer:
        return game.requests.is_done[request] == 0
    for place in range(game.crew.reader_rows[agent], game.crew.reader_rows[agent + 1]):
        reader = request * len(game.crew.engine) + game.crew.readers[place]
        state = game.roles.state[reader]
        if state == WAITS:
            return True
        if state == WRITES and game.tables.rows.is_last[game.roles.row[reader]] == 0:
            return True
    return False
