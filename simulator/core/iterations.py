"""How long iterations take and what they yield.

While only decoding goes on and nobody ends, a run of iterations has a closed form, so ``begin``
plans the whole run and ``cut`` shortens it when something happens meanwhile; effects take place
in ``end``.
"""

from __future__ import annotations

from typing import Any

from simulator.core.calls import ENDED, RUNNING, WAITING, Calls
from simulator.core.compiling import compiled
from simulator.core.cost import decode_iterations_by, decode_sum_ps, prefilling_ps
from simulator.core.replica import (
    BEGAN,
    BUSY,
    CONTEXT,
    IDLE,
    ITERATIONS,
    RUNNING_COUNT,
    SEATS,
    START,
    UNTIL,
    WAITING_COUNT,
    Replica,
    close_gap,
    is_decoding,
    leave,
)
from simulator.core.scheduling import blocks_for, hold, schedule

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

NEVER = 1 << 62


@compiled
def begin(replica: Replica, calls: Calls, now_ps: int) -> bool:
    """Plans the next iteration or run of iterations; says whether there is any work."""
    if replica.now[RUNNING_COUNT] + replica.now[WAITING_COUNT] == 0:
        return False
    seats, came_by_ps = replica.max_sequences, now_ps
    if replica.is_ahead and replica.now[RUNNING_COUNT] > 0:
        seats, came_by_ps = replica.now[SEATS], replica.now[BEGAN]
    while not _schedule(replica, calls, now_ps, seats, came_by_ps):
        pass
    replica.now[BEGAN] = now_ps
    replica.now[SEATS] = replica.max_sequences - replica.now[RUNNING_COUNT]
    return True


@compiled
def _schedule(replica: Replica, calls: Calls, now_ps: int, seats: int, came_by_ps: int) -> bool:
    """Fills one iteration; False if all that it did was to preempt."""
    budget, preempted = schedule(replica, calls, now_ps, seats, came_by_ps)
    if budget == replica.max_tokens:
        return False
    _plan(replica, calls, now_ps, not preempted)
    return True


@compiled
def _plan(replica: Replica, calls: Calls, now_ps: int, may_run: bool) -> None:
    """Times the iteration; if it only decodes, the run of equal ones that begins with it."""
    tokens, sequences, decoding, context, work = 0, 0, 0, 0, 0
    for place in range(replica.now[RUNNING_COUNT]):
        call = replica.running[place]
        planned = calls.planned[call]
        if planned == 0:
            continue
        sequences += 1
        tokens += planned
        if is_decoding(calls, call):
            decoding += 1
            context += calls.computed[call] + 1
        else:
            work += planned * (2 * calls.computed[call] + planned)
    replica.now[START] = now_ps
    replica.now[CONTEXT] = context
    if decoding == sequences:
        may_run = may_run and sequences == replica.now[RUNNING_COUNT]
        may_run = may_run and not _admits_next(replica)
        count = _run_length(replica, calls) if may_run else 1
        replica.now[ITERATIONS] = count
        took = decode_sum_ps(replica.cost, sequences, context, count)
    else:
        replica.now[ITERATIONS] = 1
        chunks, chunk = sequences - decoding, tokens - decoding
        took = prefilling_ps(replica.cost, chunks, chunk, work, decoding, context)
    replica.now[UNTIL] = now_ps + took


@compiled
def _admits_next(replica: Replica) -> bool:
    """Whether calls that came too late for this iteration may be in the next."""
    waits = replica.is_ahead and replica.now[WAITING_COUNT] > 0
    return waits and replica.now[RUNNING_COUNT] < replica.max_sequences


@compiled
def _run_length(replica: Replica, calls: Calls) -> int:
    """Iterations until a call ends, a watched token is there, or blocks may run out."""
    count = NEVER
    for place in range(replica.now[RUNNING_COUNT]):
        call = replica.running[place]
        count = min(count, calls.outputs[call] - calls.done[call])
        if calls.watch[call] > calls.done[call]:
            count = min(count, calls.watch[call] - calls.done[call])
    if replica.uses_blocks and count > 1:
        count = _run_within_blocks(replica, calls, count)
    return count


@compiled
def _run_within_blocks(replica: Replica, calls: Calls, most: int) -> int:
    """The longest run, at most ``most``, whose later iterations find their blocks free."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        needed = 0
        for place in range(replica.now[RUNNING_COUNT]):
            call = replica.running[place]
            needed += blocks_for(replica, calls.computed[call] + middle) - calls.held[call]
        if needed <= replica.blocks.free[0]:
            low = middle
        else:
            high = middle - 1
    return low


@compiled
def cut(replica: Replica, calls: Calls, now_ps: int) -> None:
    """Ends a run of iterations with the one that is under way at ``now_ps``."""
    if replica.now[UNTIL] == IDLE or replica.now[ITERATIONS] == 1:
        return
    sequences, context = replica.now[RUNNING_COUNT], replica.now[CONTEXT]
    passed = now_ps - replica.now[START]
    count = decode_iterations_by(replica.cost, sequences, context, replica.now[ITERATIONS], passed)
    _shorten(replica, count)


@compiled
def cut_at_count(replica: Replica, calls: Calls, call: int, count: int) -> None:
    """Ends a run of iterations when ``call`` has ``count`` outputs, if it would go on."""
    if replica.now[UNTIL] == IDLE or calls.planned[call] == 0:
        return
    left = count - calls.done[call]
    if 1 <= left < replica.now[ITERATIONS]:
        _shorten(replica, left)


@compiled
def _shorten(replica: Replica, count: int) -> None:
    sequences, context = replica.now[RUNNING_COUNT], replica.now[CONTEXT]
    replica.now[ITERATIONS] = count
    took = decode_sum_ps(replica.cost, sequences, context, count)
    replica.now[UNTIL] = replica.now[START] + took


@compiled
def written_by(replica: Replica, calls: Calls, call: int, now_ps: int) -> int:
    """Tokens that a call has written at ``now_ps`` (inclusive), also in the middle of a run."""
    done = calls.done[call]
    if replica.now[UNTIL] != IDLE and calls.planned[call] > 0 and replica.now[ITERATIONS] > 1:
        sequences, context = replica.now[RUNNING_COUNT], replica.now[CONTEXT]
        most = replica.now[ITERATIONS]
        passed = now_ps - replica.now[START]
        count = decode_iterations_by(replica.cost, sequences, context, most, passed)
        # A run's last iteration is not over before ``end``.
        whole = decode_sum_ps(replica.cost, sequences, context, count) <= passed
        done += count if whole else count - 1
    return min(done, calls.goal[call])


@compiled
def end(replica: Replica, calls: Calls, events: Ints) -> int:
    """Ends the iteration or run under way; returns how many calls ``events`` names.

    Named are, in the order of their seats, calls that ended or reached their watched count.
    """
    now_ps, count = replica.now[UNTIL], replica.now[ITERATIONS]
    if count > 1:
        replica.now[BEGAN] = _boundary(replica, count - 1)
    replica.now[BUSY] += now_ps - replica.now[START]
    named = 0
    for place in range(replica.now[RUNNING_COUNT]):
        call = replica.running[place]
        if calls.planned[call] > 0:
            _progress(replica, calls, call, count)
            is_over = calls.done[call] == calls.outputs[call] or calls.is_cancelled[call] == 1
            if is_over or calls.done[call] == calls.watch[call]:
                events[named] = call
                named += 1
    for place in range(named):
        call = events[place]
        if calls.done[call] == calls.outputs[call] or calls.is_cancelled[call] == 1:
            _finish(replica, calls, call, now_ps)
    replica.now[UNTIL] = IDLE
    return named


@compiled
def _progress(replica: Replica, calls: Calls, call: int, count: int) -> None:
    """Books what ``count`` iterations gave a call."""
    calls.busy_ps[call] += replica.now[UNTIL] - replica.now[START]
    if count > 1:
        # The first iteration's block is held; those of the others follow in bulk.
        calls.computed[call] += 1
        hold(replica, calls, call, calls.computed[call] + count - 1)
        calls.computed[call] += count - 1
    else:
        calls.computed[call] += calls.planned[call]
    calls.planned[call] = 0
    if calls.computed[call] < calls.prompt[call] + calls.done[call]:
        return
    before = min(calls.done[call], calls.goal[call])
    calls.done[call] += count
    after = min(calls.done[call], calls.goal[call])
    if calls.times_start[call] >= 0:
        for token in range(before, after):
            place = calls.times_start[call] + token
            calls.times_ps[place] = _boundary(replica, token - before + 1)


@compiled
def _boundary(replica: Replica, iteration: int) -> int:
    """When the run's iteration of this number, from 1, ended."""
    if iteration == replica.now[ITERATIONS]:
        return replica.now[UNTIL]
    sequences, context = replica.now[RUNNING_COUNT], replica.now[CONTEXT]
    return replica.now[START] + decode_sum_ps(replica.cost, sequences, context, iteration)


@compiled
def _finish(replica: Replica, calls: Calls, call: int, now_ps: int) -> None:
    leave(replica, calls, call)
    calls.state[call] = ENDED
    calls.ended_ps[call] = now_ps


@compiled
def cancel(replica: Replica, calls: Calls, call: int, now_ps: int) -> bool:
    """Cancels a call; True if that ended it at once, else it ends with its iteration."""
    if calls.state[call] == WAITING:
        _drop_waiting(replica, call)
        if replica.now[WAITING_COUNT] > 0:
            # There may be room for one behind it that it kept waiting.
            cut(replica, calls, now_ps)
    elif calls.state[call] == RUNNING and replica.now[UNTIL] == IDLE:
        leave(replica, calls, call)
    elif calls.state[call] == RUNNING:
        calls.is_cancelled[call] = 1
        if calls.planned[call] > 0:
            cut(replica, calls, now_ps)
            return False
        leave(replica, calls, call)
    else:
        return False
    calls.state[call] = ENDED
    calls.ended_ps[call] = now_ps
    return True


@compiled
def _drop_waiting(replica: Replica, call: int) -> None:
    count = replica.now[WAITING_COUNT]
    place = 0
    while replica.waiting[place] != call:
        place += 1
    close_gap(replica.waiting, place, count)
    replica.now[WAITING_COUNT] = count - 1
