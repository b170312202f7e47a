"""KV blocks of one replica: a pool, a prefix cache by block, eviction of the least recently used.

As in vLLM v1: a block that nobody uses any more goes to the end of a queue but keeps its content
until it is taken from the queue's front; a call that ends gives its blocks back last one first, so
that of a text its end is evicted before its beginning. Contents are chain hashes: equal hashes mean
equal text from the very beginning. A content that is already cached is not cached a second time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from simulator.core.compiling import compiled

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any

NOTHING = -1


class Blocks(NamedTuple):
    """State of a pool of blocks; the queue's sentinel is the index one past the last block.

    Attributes:
        users: calls that hold each block.
        content: chain hash of each block's text, 0 if it is not cached.
        after, before: the queue of free blocks as a ring.
        keys, values: hash table from content to block; open addressing.
        free: number of free blocks, in one cell.
    """

    users: Ints
    content: Ints
    after: Ints
    before: Ints
    keys: Ints
    values: Ints
    free: Ints


def make_blocks(count: int) -> Blocks:
    """``count`` free blocks."""
    ring = np.arange(count + 1, dtype=np.int64)
    size = 1 << max(4, (2 * count).bit_length())
    return Blocks(
        users=np.zeros(count, dtype=np.int64),
        content=np.zeros(count, dtype=np.int64),
        after=(ring + 1) % (count + 1),
        before=(ring - 1) % (count + 1),
        keys=np.zeros(size, dtype=np.int64),
        values=np.zeros(size, dtype=np.int64),
        free=np.array([count], dtype=np.int64),
    )


@compiled
def find(blocks: Blocks, content: int) -> int:
    """The block that holds ``content``, or NOTHING."""
    mask = len(blocks.keys) - 1
    place = (content ^ (content >> 32)) & mask
    while blocks.keys[place] != 0:
        if blocks.keys[place] == content:
            return blocks.values[place]
        place = (place + 1) & mask
    return NOTHING


@compiled
def remember(blocks: Blocks, block: int, content: int) -> None:
    """Caches ``content`` in ``block`` unless another block holds it."""
    mask = len(blocks.keys) - 1
    place = (content ^ (content >> 32)) & mask
    while blocks.keys[place] != 0:
        if blocks.keys[place] == content:
            return
        place = (place + 1) & mask
    blocks.keys[place] = content
    blocks.values[place] = block
    blocks.content[block] = content


@compiled
def forget(blocks: Blocks, block: int) -> None:
    """Drops what ``block`` caches, closing the gap in the hash table."""
    content = blocks.content[block]
    if content == 0:
        return
    blocks.content[block] = 0
    mask = len(blocks.keys) - 1
    hole = (content ^ (content >> 32)) & mask
    while blocks.keys[hole] != content:
        hole = (hole + 1) & mask
    place = hole
    while True:
        place = (place + 1) & mask
        key = blocks.keys[place]
        if key == 0:
            break
        home = (key ^ (key >> 32)) & mask
        if ((place - home) & mask) >= ((place - hole) & mask):
            blocks.keys[hole] = key
            blocks.values[hole] = blocks.values[place]
            hole = place
    blocks.keys[hole] = 0


@compiled
def take(blocks: Blocks) -> int:
    """The least recently used free block, emptied, with one user."""
    head = len(blocks.users)
    block = blocks.after[head]
    _unlink(blocks, block)
    forget(blocks, block)
    blocks.users[block] = 1
    return block


@compiled
def share(blocks: Blocks, block: int) -> None:
    """One more user of a cached block."""
    if blocks.users[block] == 0:
        _unlink(blocks, block)
    blocks.users[block] += 1


@compiled
def release(blocks: Blocks, block: int) -> None:
    """One user less; the last one puts it at the queue's end."""
    blocks.users[block] -= 1
    if blocks.users[block] == 0:
        head = len(blocks.users)
        last = blocks.before[head]
        blocks.after[last] = block
        blocks.before[block] = last
        blocks.after[block] = head
        blocks.before[head] = block
        blocks.free[0] += 1


@compiled
def _unlink(blocks: Blocks, block: int) -> None:
    blocks.after[blocks.before[block]] = blocks.after[block]
    blocks.before[blocks.after[block]] = blocks.before[block]
    blocks.free[0] -= 1
