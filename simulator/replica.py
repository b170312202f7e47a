"""One replica that serves calls as vLLM v1 does: the compiled core of the simulator.

A replica runs iterations. Each has a budget of tokens: first every running call gets its next token
or the next chunk of its prompt, then waiting calls are admitted while budget, seats and KV blocks
last. If a running call finds no block, the youngest running one is preempted: its blocks go and it
computes its text again later (recompute preemption). A call finds the longest cached prefix of its
text in whole blocks when it is admitted; its last token is always computed.

While only decoding goes on and nobody ends, a run of iterations has a closed form, so ``begin``
plans the whole run and ``cut`` shortens it when something happens meanwhile; effects take place
in ``end``. The caller is an event loop: the compiled one (``simulator.compiled``) or SimPy.

Times are integer picoseconds. ``docs/invariants.md`` numbers what ``check_integrity`` recounts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from simulator.blocks import NOTHING, Blocks, find, make_blocks, release, remember, share, take
from simulator.cost import (
    Cost,
    at,
    decode_iterations_by,
    decode_sum_ps,
    mixed_attention_ps,
)

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

NEVER = 1 << 62
# States of a call.
NEW, WAITING, RUNNING, ENDED = 0, 1, 2, 3
# Cells of Replica.now.
START, UNTIL, ITERATIONS, CONTEXT, RUNNING_COUNT, WAITING_COUNT, BUSY, PREEMPTIONS, ARRIVALS = (
    range(9)
)
IDLE = -1


class Calls(NamedTuple):
    """All calls of a simulation, one column each; replicas share these tables.

    Attributes:
        prompt: tokens of the prompt.
        goal: tokens that it will write.
        limit: tokens that it may write.
        outputs: iterations that yield something: ``goal``, and one more if the end costs one.
        watch: written tokens at which a run of iterations has to stop.
        computed: tokens of its text whose KV is there.
        done: outputs so far.
        cached: prompt tokens found in the cache when it was first admitted.
        hash_start, hashes: chain hashes of its text's full blocks, ``hashes[hash_start[i]:]``.
        table_start, table, held: its KV blocks.
        planned: tokens that the iteration under way computes.
        first_ps, last_ps: when it wrote its first and last token.
        times_start, times_ps: when it wrote each token, if ``times_start`` is not negative.
    """

    prompt: Ints
    goal: Ints
    limit: Ints
    outputs: Ints
    priority: Ints
    watch: Ints
    state: Ints
    arrival: Ints
    computed: Ints
    done: Ints
    cached: Ints
    hash_start: Ints
    hashes: Ints
    table_start: Ints
    table: Ints
    held: Ints
    planned: Ints
    is_cancelled: Ints
    submitted_ps: Ints
    started_ps: Ints
    first_ps: Ints
    last_ps: Ints
    ended_ps: Ints
    busy_ps: Ints
    times_start: Ints
    times_ps: Ints


class Replica(NamedTuple):
    """One replica's limits and state.

    Attributes:
        now: cells START … ARRIVALS: the run of iterations under way, and counts.
        running, waiting: numbers of calls in the order of their admission or arrival.
        uses_blocks: whether KV is limited.
    """

    max_tokens: int
    max_sequences: int
    block_tokens: int
    uses_blocks: bool
    caches_prefixes: bool
    by_priority: bool
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
    calls: int = 64,
    blocks: int | None = None,
    block_tokens: int = 16,
    caches_prefixes: bool = True,
    by_priority: bool = False,
) -> Replica:
    """An idle replica; ``blocks`` of None leaves KV without limit and without prefix cache."""
    now = np.zeros(9, dtype=np.int64)
    now[UNTIL] = IDLE
    return Replica(
        max_tokens,
        max_sequences,
        block_tokens,
        blocks is not None,
        caches_prefixes and blocks is not None,
        by_priority,
        cost,
        make_blocks(blocks or 1),
        now,
        np.zeros(max_sequences, dtype=np.int64),
        np.zeros(calls + 1, dtype=np.int64),
    )


@njit(cache=True)
def submit(replica: Replica, calls: Calls, call: int, now_ps: int) -> None:
    """A call arrives."""
    calls.state[call] = WAITING
    calls.arrival[call] = replica.now[ARRIVALS]
    replica.now[ARRIVALS] += 1
    calls.submitted_ps[call] = now_ps
    _insert(replica, calls, call)


@njit(cache=True)
def _insert(replica: Replica, calls: Calls, call: int) -> None:
    """Into the waiting queue, which is sorted: first come, or most urgent, first."""
    count = replica.now[WAITING_COUNT]
    place = count
    while place > 0 and _is_sooner(replica, calls, call, replica.waiting[place - 1]):
        replica.waiting[place] = replica.waiting[place - 1]
        place -= 1
    replica.waiting[place] = call
    replica.now[WAITING_COUNT] = count + 1


@njit(cache=True)
def _is_sooner(replica: Replica, calls: Calls, one: int, other: int) -> bool:
    """Lower priority numbers go first where the replica heeds them, then earlier arrivals."""
    if replica.by_priority and calls.priority[one] != calls.priority[other]:
        return calls.priority[one] < calls.priority[other]
    return calls.arrival[one] < calls.arrival[other]


@njit(cache=True)
def begin(replica: Replica, calls: Calls, now_ps: int) -> bool:
    """Plans the next iteration or run of iterations; says whether there is any work."""
    if replica.now[RUNNING_COUNT] + replica.now[WAITING_COUNT] == 0:
        return False
    while not _schedule(replica, calls, now_ps):
        pass
    return True


@njit(cache=True)
def _schedule(replica: Replica, calls: Calls, now_ps: int) -> bool:
    """Fills one iteration; False if all that it did was to preempt."""
    budget, preempted = _schedule_running(replica, calls)
    if not preempted:
        budget = _admit(replica, calls, budget, now_ps)
    if budget == replica.max_tokens:
        return False
    _plan(replica, calls, now_ps, not preempted)
    return True


@njit(cache=True)
def _schedule_running(replica: Replica, calls: Calls) -> tuple[int, bool]:
    """Gives running calls their tokens; returns what is left of the budget."""
    budget, preempted, place = replica.max_tokens, False, 0
    while place < replica.now[RUNNING_COUNT] and budget > 0:
        call = replica.running[place]
        tokens = min(_missing(calls, call), budget)
        while not _has_room(replica, calls, call, calls.computed[call] + tokens):
            preempted = True
            victim = _victim(replica, calls)
            budget += calls.planned[victim]
            seat = _preempt(replica, calls, victim)
            if seat <= place:
                place -= 1
            if victim == call:
                break
        if calls.state[call] == RUNNING:
            _hold(replica, calls, call, calls.computed[call] + tokens)
            calls.planned[call] = tokens
            budget -= tokens
        place += 1
    return budget, preempted


@njit(cache=True)
def _missing(calls: Calls, call: int) -> int:
    """Tokens of its text that are not computed: 1 while it decodes."""
    return calls.prompt[call] + calls.done[call] - calls.computed[call]


@njit(cache=True)
def _victim(replica: Replica, calls: Calls) -> int:
    """The youngest running call, or the least urgent one."""
    worst = replica.running[replica.now[RUNNING_COUNT] - 1]
    if replica.by_priority:
        for place in range(replica.now[RUNNING_COUNT]):
            if _is_sooner(replica, calls, worst, replica.running[place]):
                worst = replica.running[place]
    return worst


@njit(cache=True)
def _preempt(replica: Replica, calls: Calls, call: int) -> int:
    """Back to the queue without KV; returns the seat that it had."""
    seat = _leave(replica, calls, call)
    calls.state[call] = WAITING
    calls.computed[call] = 0
    calls.planned[call] = 0
    replica.now[PREEMPTIONS] += 1
    _insert(replica, calls, call)
    return seat


@njit(cache=True)
def _leave(replica: Replica, calls: Calls, call: int) -> int:
    """Frees a running call's seat and blocks."""
    count = replica.now[RUNNING_COUNT]
    seat = 0
    while replica.running[seat] != call:
        seat += 1
    for place in range(seat, count - 1):
        replica.running[place] = replica.running[place + 1]
    replica.now[RUNNING_COUNT] = count - 1
    first = calls.table_start[call]
    for place in range(calls.held[call] - 1, -1, -1):
        release(replica.blocks, calls.table[first + place])
    calls.held[call] = 0
    return seat


@njit(cache=True)
def _has_room(replica: Replica, calls: Calls, call: int, tokens: int) -> bool:
    if not replica.uses_blocks:
        return True
    return _blocks_for(replica, tokens) - calls.held[call] <= replica.blocks.free[0]


@njit(cache=True)
def _blocks_for(replica: Replica, tokens: int) -> int:
    return (tokens + replica.block_tokens - 1) // replica.block_tokens


@njit(cache=True)
def _hold(replica: Replica, calls: Calls, call: int, tokens: int) -> None:
    """Takes the blocks for ``tokens`` tokens of text and caches those that are full."""
    if not replica.uses_blocks:
        return
    first, held = calls.table_start[call], calls.held[call]
    for place in range(held, _blocks_for(replica, tokens)):
        calls.table[first + place] = take(replica.blocks)
        calls.held[call] = place + 1
    if not replica.caches_prefixes:
        return
    full = calls.computed[call] // replica.block_tokens
    for place in range(full, tokens // replica.block_tokens):
        block = calls.table[first + place]
        if replica.blocks.content[block] == 0:
            remember(replica.blocks, block, calls.hashes[calls.hash_start[call] + place])


@njit(cache=True)
def _admit(replica: Replica, calls: Calls, budget: int, now_ps: int) -> int:
    """Admits waiting calls in order; the first that does not fit keeps the others out."""
    while (
        replica.now[WAITING_COUNT] > 0
        and budget > 0
        and replica.now[RUNNING_COUNT] < replica.max_sequences
    ):
        call = replica.waiting[0]
        hits = _cached_blocks(replica, calls, call)
        tokens = min(_missing(calls, call) - hits * replica.block_tokens, budget)
        if not _can_admit(replica, calls, call, hits, tokens):
            return budget
        for place in range(1, replica.now[WAITING_COUNT]):
            replica.waiting[place - 1] = replica.waiting[place]
        replica.now[WAITING_COUNT] -= 1
        replica.running[replica.now[RUNNING_COUNT]] = call
        replica.now[RUNNING_COUNT] += 1
        _start(replica, calls, call, hits, now_ps)
        _hold(replica, calls, call, calls.computed[call] + tokens)
        calls.planned[call] = tokens
        budget -= tokens
    return budget


@njit(cache=True)
def _start(replica: Replica, calls: Calls, call: int, hits: int, now_ps: int) -> None:
    calls.state[call] = RUNNING
    first = calls.table_start[call]
    for place in range(hits):
        block = find(replica.blocks, calls.hashes[calls.hash_start[call] + place])
        share(replica.blocks, block)
        calls.table[first + place] = block
    calls.held[call] = hits
    calls.computed[call] = hits * replica.block_tokens
    if calls.started_ps[call] < 0:
        calls.started_ps[call] = now_ps
        calls.cached[call] = min(calls.computed[call], calls.prompt[call])


@njit(cache=True)
def _cached_blocks(replica: Replica, calls: Calls, call: int) -> int:
    """Leading full blocks of its text that are cached; never its last token."""
    if not replica.caches_prefixes:
        return 0
    most = (calls.prompt[call] + calls.done[call] - 1) // replica.block_tokens
    first = calls.hash_start[call]
    for place in range(most):
        if find(replica.blocks, calls.hashes[first + place]) == NOTHING:
            return place
    return most


@njit(cache=True)
def _can_admit(replica: Replica, calls: Calls, call: int, hits: int, tokens: int) -> bool:
    """Cached blocks that nobody uses are free too, but not once they are shared."""
    if not replica.uses_blocks:
        return True
    new = _blocks_for(replica, hits * replica.block_tokens + tokens) - hits
    unused = 0
    for place in range(hits):
        block = find(replica.blocks, calls.hashes[calls.hash_start[call] + place])
        unused += replica.blocks.users[block] == 0
    return new <= replica.blocks.free[0] - unused


@njit(cache=True)
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
        if calls.computed[call] >= calls.prompt[call] and _missing(calls, call) == 1:
            decoding += 1
            context += calls.computed[call] + 1
        else:
            work += planned * (2 * calls.computed[call] + planned)
    replica.now[START] = now_ps
    replica.now[CONTEXT] = context
    if decoding == sequences:
        may_run = may_run and sequences == replica.now[RUNNING_COUNT]
        count = _run_length(replica, calls) if may_run else 1
        replica.now[ITERATIONS] = count
        took = decode_sum_ps(replica.cost, sequences, context, count)
    else:
        replica.now[ITERATIONS] = 1
        took = at(replica.cost.tokens_ps, tokens) + at(replica.cost.sequences_ps, sequences)
        took += mixed_attention_ps(replica.cost, tokens - decoding, work, decoding, context)
    replica.now[UNTIL] = now_ps + took


@njit(cache=True)
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


@njit(cache=True)
def _run_within_blocks(replica: Replica, calls: Calls, most: int) -> int:
    """The longest run, at most ``most``, whose later iterations find their blocks free."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        needed = 0
        for place in range(replica.now[RUNNING_COUNT]):
            call = replica.running[place]
            needed += _blocks_for(replica, calls.computed[call] + middle) - calls.held[call]
        if needed <= replica.blocks.free[0]:
            low = middle
        else:
            high = middle - 1
    return low


@njit(cache=True)
def cut(replica: Replica, calls: Calls, now_ps: int) -> None:
    """Ends a run of iterations with the one that is under way at ``now_ps``."""
    if replica.now[UNTIL] == IDLE or replica.now[ITERATIONS] == 1:
        return
    sequences, context = replica.now[RUNNING_COUNT], replica.now[CONTEXT]
    passed = now_ps - replica.now[START]
    count = decode_iterations_by(replica.cost, sequences, context, replica.now[ITERATIONS], passed)
    _shorten(replica, count)


@njit(cache=True)
def cut_at_count(replica: Replica, calls: Calls, call: int, count: int) -> None:
    """Ends a run of iterations when ``call`` has ``count`` outputs, if it would go on."""
    if replica.now[UNTIL] == IDLE or calls.planned[call] == 0:
        return
    left = count - calls.done[call]
    if 1 <= left < replica.now[ITERATIONS]:
        _shorten(replica, left)


@njit(cache=True)
def _shorten(replica: Replica, count: int) -> None:
    sequences, context = replica.now[RUNNING_COUNT], replica.now[CONTEXT]
    replica.now[ITERATIONS] = count
    took = decode_sum_ps(replica.cost, sequences, context, count)
    replica.now[UNTIL] = replica.now[START] + took


@njit(cache=True)
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


@njit(cache=True)
def end(replica: Replica, calls: Calls, events: Ints) -> int:
    """Ends the iteration or run under way; returns how many calls ``events`` names.

    Named are, in the order of their seats, calls that ended or reached their watched count.
    """
    now_ps, count = replica.now[UNTIL], replica.now[ITERATIONS]
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


@njit(cache=True)
def _progress(replica: Replica, calls: Calls, call: int, count: int) -> None:
    """Books what ``count`` iterations gave a call."""
    calls.busy_ps[call] += replica.now[UNTIL] - replica.now[START]
    if count > 1:
        # The first iteration's block is held; those of the others follow in bulk.
        calls.computed[call] += 1
        _hold(replica, calls, call, calls.computed[call] + count - 1)
        calls.computed[call] += count - 1
    else:
        calls.computed[call] += calls.planned[call]
    calls.planned[call] = 0
    if calls.computed[call] < calls.prompt[call] + calls.done[call]:
        return
    before = min(calls.done[call], calls.goal[call])
    calls.done[call] += count
    after = min(calls.done[call], calls.goal[call])
    if after > before:
        if before == 0:
            calls.first_ps[call] = _boundary(replica, 1)
        calls.last_ps[call] = _boundary(replica, after - before)
        if calls.times_start[call] >= 0:
            for token in range(before, after):
                calls.times_ps[calls.times_start[call] + token] = _boundary(
                    replica, token - before + 1
                )


@njit(cache=True)
def _boundary(replica: Replica, iteration: int) -> int:
    """When the run's iteration of this number, from 1, ended."""
    if iteration == replica.now[ITERATIONS]:
        return replica.now[UNTIL]
    sequences, context = replica.now[RUNNING_COUNT], replica.now[CONTEXT]
    return replica.now[START] + decode_sum_ps(replica.cost, sequences, context, iteration)


@njit(cache=True)
def _finish(replica: Replica, calls: Calls, call: int, now_ps: int) -> None:
    _leave(replica, calls, call)
    calls.state[call] = ENDED
    calls.ended_ps[call] = now_ps


@njit(cache=True)
def cancel(replica: Replica, calls: Calls, call: int, now_ps: int) -> bool:
    """Cancels a call; True if that ended it at once, else it ends with its iteration."""
    if calls.state[call] == WAITING:
        _drop_waiting(replica, call)
    elif calls.state[call] == RUNNING and replica.now[UNTIL] == IDLE:
        _leave(replica, calls, call)
    elif calls.state[call] == RUNNING:
        calls.is_cancelled[call] = 1
        if calls.planned[call] > 0:
            cut(replica, calls, now_ps)
            return False
        _leave(replica, calls, call)
    else:
        return False
    calls.state[call] = ENDED
    calls.ended_ps[call] = now_ps
    return True


@njit(cache=True)
def _drop_waiting(replica: Replica, call: int) -> None:
    count = replica.now[WAITING_COUNT]
    place = 0
    while replica.waiting[place] != call:
        place += 1
    for later in range(place, count - 1):
        replica.waiting[later] = replica.waiting[later + 1]
    replica.now[WAITING_COUNT] = count - 1


COLUMNS = tuple(name for name in Calls._fields if name not in ("hashes", "table", "times_ps"))


def make_calls(calls: int, hashes: int, blocks: int, times: int) -> Calls:
    """Columns with room for so many rows, hashes, blocks and token times."""
    columns = {name: np.zeros(calls, dtype=np.int64) for name in COLUMNS}
    for name in ("started_ps", "first_ps", "last_ps", "ended_ps", "times_start", "watch"):
        columns[name][:] = -1
    return Calls(
        **columns,
        hashes=np.zeros(hashes, dtype=np.int64),
        table=np.zeros(blocks, dtype=np.int64),
        times_ps=np.zeros(times, dtype=np.int64),
    )


def grown(calls: Calls, rows: int, hashes: int, blocks: int, times: int) -> Calls:
    """The same columns with room for at least so much; doubled where it is too little."""
    needed = {"hashes": hashes, "table": blocks, "times_ps": times}
    if all(len(getattr(calls, name)) >= needed.get(name, rows) for name in Calls._fields):
        return calls
    sizes = (len(calls.prompt), len(calls.hashes), len(calls.table), len(calls.times_ps))
    wanted = (rows, hashes, blocks, times)
    larger = make_calls(*(2 * max(pair) for pair in zip(sizes, wanted, strict=True)))
    for name in Calls._fields:
        old = getattr(calls, name)
        getattr(larger, name)[: len(old)] = old
    return larger


def with_room(replica: Replica) -> Replica:
    """The same replica with room for one more waiting call."""
    if replica.now[WAITING_COUNT] + replica.now[RUNNING_COUNT] + 1 < len(replica.waiting):
        return replica
    waiting = np.zeros(2 * len(replica.waiting) + 2, dtype=np.int64)
    waiting[: len(replica.waiting)] = replica.waiting
    return replica._replace(waiting=waiting)
