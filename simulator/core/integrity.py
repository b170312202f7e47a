"""Recounts the books; the numbers are those of ``docs/invariants.md``."""

from __future__ import annotations

from collections import Counter

import numpy as np

from simulator.core.blocks import Blocks
from simulator.core.calls import RUNNING, WAITING, Calls
from simulator.core.replica import IDLE, RUNNING_COUNT, START, UNTIL, WAITING_COUNT, Replica


def check_over(over: int, requests: int) -> None:
    """Raises AssertionError unless all ``requests`` are over when nothing more happens."""
    if over < requests:
        raise AssertionError(f"I8: {requests - over} of {requests} requests are not over")


def check_integrity(replica: Replica, calls: Calls, now_ps: int) -> None:
    """Raises AssertionError where the books do not agree."""
    running = replica.running[: replica.now[RUNNING_COUNT]].tolist()
    waiting = replica.waiting[: replica.now[WAITING_COUNT]].tolist()
    _check_seats(replica, calls, running, waiting)
    _check_tokens(replica, calls, running, waiting)
    _check_clock(replica, now_ps)
    if replica.uses_blocks:
        _check_blocks(replica, calls, running, waiting)


def _check_seats(replica: Replica, calls: Calls, running: list[int], waiting: list[int]) -> None:
    assert len(set(running + waiting)) == len(running) + len(waiting), "I7: a call has two places"
    assert len(running) <= replica.max_sequences, "I6: more calls than seats"
    assert all(calls.state[call] == RUNNING for call in running), "I7: running but not marked so"
    assert all(calls.state[call] == WAITING for call in waiting), "I7: waiting but not marked so"
    urgency = [
        (calls.priority[call] if replica.by_priority else 0, calls.arrival[call])
        for call in waiting
    ]
    assert urgency == sorted(urgency), "I4: the queue is out of order"


def _check_tokens(replica: Replica, calls: Calls, running: list[int], waiting: list[int]) -> None:
    planned = sum(calls.planned[call] for call in running)
    assert planned <= replica.max_tokens, "I6: more tokens than the budget"
    for call in running + waiting:
        text = calls.prompt[call] + calls.done[call]
        assert calls.computed[call] + calls.planned[call] <= text, "I1: computed what is not there"
        assert calls.done[call] < calls.outputs[call], "I8: a call that is over has a place"
    for call in waiting:
        assert calls.computed[call] == calls.planned[call] == 0, "I8: a waiting call holds KV"


def _check_clock(replica: Replica, now_ps: int) -> None:
    if replica.now[UNTIL] != IDLE:
        assert replica.now[START] <= now_ps <= replica.now[UNTIL], "I3: the clock ran past an end"


def _check_blocks(replica: Replica, calls: Calls, running: list[int], waiting: list[int]) -> None:
    blocks = replica.blocks
    users: Counter[int] = Counter()
    for call in running:
        first = calls.table_start[call]
        users.update(calls.table[first : first + calls.held[call]].tolist())
        needed = -(-(calls.computed[call] + calls.planned[call]) // replica.block_tokens)
        assert calls.held[call] == needed, "I6: a call holds more or less than its text needs"
    assert not any(calls.held[call] for call in waiting), "I8: a waiting call holds blocks"
    used = np.flatnonzero(blocks.users)
    booked = dict(zip(used.tolist(), blocks.users[used].tolist(), strict=True))
    assert users == booked, "I6: users of blocks are miscounted"
    free = _free_blocks(blocks)
    assert len(free) == len(set(free)) == blocks.free[0], "I6: free blocks are miscounted"
    assert booked.keys().isdisjoint(free), "I6: a free block has users"
    assert len(free) + len(used) == len(blocks.users), "I6: a block is lost"
    places, holders = np.flatnonzero(blocks.keys), np.flatnonzero(blocks.content)
    cached = zip(blocks.keys[places].tolist(), blocks.values[places].tolist(), strict=True)
    contents = zip(blocks.content[holders].tolist(), holders.tolist(), strict=True)
    assert dict(cached) == dict(contents), "I6: the prefix cache and the blocks disagree"


def _free_blocks(blocks: Blocks) -> list[int]:
    """The queue's blocks from the first to be taken to the last."""
    head = len(blocks.users)
    after, before = blocks.after.tolist(), blocks.before.tolist()
    found: list[int] = []
    block = after[head]
    while block != head:
        assert after[before[block]] == block, "I6: the queue's links disagree"
        assert len(found) < head, "I6: the queue's links never lead to its end"
        found.append(block)
        block = after[block]
    return found
