"""Who gets what in an iteration, as vLLM v1 decides it.

Each iteration has a budget of tokens: first every running call gets its next token or the next
chunk of its prompt, then waiting calls are admitted while budget, seats and KV blocks last. If a
running call finds no block, the youngest running one is preempted (under priority scheduling the
least urgent one): its blocks go and it computes its text again later (recompute preemption). Once a
call has preempted itself, no further one gets tokens in this iteration; and none is admitted where
one was preempted. A call finds the longest cached prefix of its text in whole blocks when it is
admitted; its last token is always computed.

SGLang and TensorRT-LLM mix prompts and decodes in other ways. Where a replica ``prefills_first``
(SGLang without ``--enable-mixed-chunk``), an iteration that computes any prompt computes nothing
else. Where it does not ``chunk prompts`` (TensorRT-LLM without ``enable_chunked_prefill``), a
prompt waits until the budget has room for all of it.

Sources: vLLM, vllm/v1/core/sched/scheduler.py, ``schedule``, at 00024d3; SGLang,
python/sglang/srt/managers/scheduler.py, ``get_next_batch_to_run``; TensorRT-LLM,
tensorrt_llm/_torch/pyexecutor/scheduler.py, ``PyMicroBatchScheduler``, at 034fffb.
"""

from __future__ import annotations

from simulator.core.blocks import NOTHING, find, remember, share, take
from simulator.core.calls import RUNNING, WAITING, Calls
from simulator.core.compiling import compiled
from simulator.core.replica import (
    PREEMPTIONS,
    RUNNING_COUNT,
    WAITING_COUNT,
    Replica,
    close_gap,
    insert,
    is_decoding,
    is_sooner,
    leave,
    missing,
)


@compiled
def schedule(
    replica: Replica, calls: Calls, now_ps: int, seats: int, came_by_ps: int
) -> tuple[int, bool]:
    """Fills an iteration; returns what is left of its budget, and whether any was preempted.

    For ``seats`` and ``came_by_ps`` see ``_admit``.
    """
    budget, preempted = _schedule_running(replica, calls, True, not replica.prefills_first)
    if not preempted:
        budget = _admit(replica, calls, budget, now_ps, seats, came_by_ps)
    if replica.prefills_first and budget == replica.max_tokens:
        budget, decode_preempted = _schedule_running(replica, calls, False, True)
        preempted = preempted or decode_preempted
    return budget, preempted


@compiled
def _schedule_running(
    replica: Replica, calls: Calls, prompts: bool, decodes: bool
) -> tuple[int, bool]:
    """Gives running calls their tokens: those with prompts to compute, those that decode, or both.

    Returns what is left of the budget, and whether any was preempted.
    """
    budget, preempted, place = replica.max_tokens, False, 0
    while place < replica.now[RUNNING_COUNT] and budget > 0:
        call = replica.running[place]
        if not (decodes if is_decoding(calls, call) else prompts):
            place += 1
            continue
        tokens = min(missing(calls, call), budget, replica.max_chunk)
        while not _has_room(replica, calls, call, calls.computed[call] + tokens):
            preempted = True
            victim = _victim(replica, calls)
            budget += calls.planned[victim]
            seat = _preempt(replica, calls, victim)
            if seat <= place:
                place -= 1
            if victim == call:
                return budget, True
        hold(replica, calls, call, calls.computed[call] + tokens)
        calls.planned[call] = tokens
        budget -= tokens
        place += 1
    return budget, preempted


@compiled
def _victim(replica: Replica, calls: Calls) -> int:
    """The youngest running call, or the least urgent one."""
    worst = replica.running[replica.now[RUNNING_COUNT] - 1]
    if replica.by_priority:
        for place in range(replica.now[RUNNING_COUNT]):
            if is_sooner(replica, calls, worst, replica.running[place]):
                worst = replica.running[place]
    return worst


@compiled
def _preempt(replica: Replica, calls: Calls, call: int) -> int:
    """Back to the queue without KV; returns the seat that it had."""
    seat = leave(replica, calls, call)
    calls.state[call] = WAITING
    calls.computed[call] = 0
    calls.planned[call] = 0
    replica.now[PREEMPTIONS] += 1
    insert(replica, calls, call)
    return seat


@compiled
def _has_room(replica: Replica, calls: Calls, call: int, tokens: int) -> bool:
    if not replica.uses_blocks:
        return True
    return blocks_for(replica, tokens) - calls.held[call] <= replica.blocks.free[0]


@compiled
def blocks_for(replica: Replica, tokens: int) -> int:
    return (tokens + replica.block_tokens - 1) // replica.block_tokens


@compiled
def hold(replica: Replica, calls: Calls, call: int, tokens: int) -> None:
    """Takes the blocks for ``tokens`` tokens of text and caches those that are full."""
    if not replica.uses_blocks:
        return
    first, held = calls.table_start[call], calls.held[call]
    for place in range(held, blocks_for(replica, tokens)):
        calls.table[first + place] = take(replica.blocks)
        calls.held[call] = place + 1
    if not replica.caches_prefixes:
        return
    full = calls.computed[call] // replica.block_tokens
    for place in range(full, tokens // replica.block_tokens):
        block = calls.table[first + place]
        if replica.blocks.content[block] == 0:
            remember(replica.blocks, block, calls.hashes[calls.hash_start[call] + place])


@compiled
def _admit(
    replica: Replica, calls: Calls, budget: int, now_ps: int, seats: int, came_by_ps: int
) -> int:
    """Admits waiting calls in order; the first that does not fit keeps the others out.

    They are at most ``seats`` calls that came by ``came_by_ps``: with asynchronous scheduling,
    vLLM's default by now, an iteration is made up when the one before it begins.
    """
    while (
        replica.now[WAITING_COUNT] > 0
        and budget > 0
        and seats > 0
        and replica.now[RUNNING_COUNT] < replica.max_sequences
    ):
        call = replica.waiting[0]
        if calls.submitted_ps[call] > came_by_ps:
            return budget
        hits = _cached_blocks(replica, calls, call)
        tokens = missing(calls, call) - hits * replica.block_tokens
        if tokens > budget and not replica.chunks_prompts:
            return budget
        tokens = min(tokens, budget, replica.max_chunk)
        if not _can_admit(replica, calls, call, hits, tokens):
            return budget
        close_gap(replica.waiting, 0, replica.now[WAITING_COUNT])
        replica.now[WAITING_COUNT] -= 1
        replica.running[replica.now[RUNNING_COUNT]] = call
        replica.now[RUNNING_COUNT] += 1
        _start(replica, calls, call, hits, now_ps)
        hold(replica, calls, call, calls.computed[call] + tokens)
        calls.planned[call] = tokens
        budget -= tokens
        seats -= 1
    return budget


@compiled
def _start(replica: Replica, calls: Calls, call: int, hits: int, now_ps: int) -> None:
    calls.state[call] = RUNNING
    first = calls.table_start[call]
    for place in range(hits):
        share(replica.blocks, calls.table[first + place])
    calls.held[call] = hits
    calls.computed[call] = hits * replica.block_tokens
    if calls.started_ps[call] < 0:
        calls.started_ps[call] = now_ps
        calls.cached[call] = min(calls.computed[call], calls.prompt[call])


@compiled
def _cached_blocks(replica: Replica, calls: Calls, call: int) -> int:
    """How many leading full blocks of its text are cached, never its last token.

    They stand in its table then, though it does not hold them yet.
    """
    if not replica.caches_prefixes:
        return 0
    most = (calls.prompt[call] + calls.done[call] - 1) // replica.block_tokens
    first_hash, first = calls.hash_start[call], calls.table_start[call]
    for place in range(most):
        block = find(replica.blocks, calls.hashes[first_hash + place])
        if block == NOTHING:
            return place
        calls.table[first + place] = block
    return most


@compiled
def _can_admit(replica: Replica, calls: Calls, call: int, hits: int, tokens: int) -> bool:
    """Cached blocks that nobody uses are free too, but not once they are shared."""
    if not replica.uses_blocks:
        return True
    new = blocks_for(replica, hits * replica.block_tokens + tokens) - hits
    unused = 0
    for place in range(hits):
        unused += replica.blocks.users[calls.table[calls.table_start[call] + place]] == 0
    return new <= replica.blocks.free[0] - unused
