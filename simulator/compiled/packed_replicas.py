"""Any number of replicas in one array, so that compiled code is the same for any number.

    packed = pack_replicas(replicas)      # copies them
    replica = replica_at(packed, n)    # in compiled code: views, no copies

Compiled code cannot index replicas of its own accord: a tuple of them is compiled anew for every
length, and a list counts references to some twenty arrays whenever one is taken out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from simulator.core.blocks import Blocks
from simulator.core.compiling import inlined
from simulator.core.cost import Cost
from simulator.core.replica import Replica

# Arrays of a replica: its cost's, its blocks', then ``now``, ``running`` and ``waiting``.
COST, NOW = len(Cost._fields), len(Cost._fields) + len(Blocks._fields)
# Those with more than one dimension.
_DIMENSIONS = {4: 2, 5: 2, 10: 4}
# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any


class PackedReplicas(NamedTuple):
    """Replicas, packed.

    Attributes:
        heap: the elements of all arrays.
        places: (start, length of each of up to four dimensions) at (replica, array).
        numbers: at (replica, number).
    """

    heap: Ints
    places: Ints
    numbers: Ints


def pack_replicas(replicas: Sequence[Replica]) -> PackedReplicas:
    """Packs copies of ``replicas``."""
    arrays = [_arrays(replica) for replica in replicas]
    places = np.ones((len(replicas), len(arrays[0]), 5), dtype=np.int64)
    start = 0
    # Array by array and not replica by replica, so that ``now_of`` finds its rows side by side.
    for column in range(len(arrays[0])):
        for row, own in enumerate(arrays):
            places[row, column, : 1 + own[column].ndim] = (start, *own[column].shape)
            start += own[column].size
    heap = np.zeros(start, dtype=np.int64)
    packed = PackedReplicas(heap, places, np.asarray([_numbers(replica) for replica in replicas]))
    for row, own in enumerate(arrays):
        for view, array in zip(_views(packed, row), own, strict=True):
            view[...] = array
    return packed


def unpacked(packed: PackedReplicas) -> list[Replica]:
    """Its replicas, as views of it."""
    return [_unpacked(packed, row) for row in range(len(packed.places))]


def _unpacked(packed: PackedReplicas, row: int) -> Replica:
    tokens, chunk, sequences, block_tokens, *switches = packed.numbers[row].tolist()
    uses_blocks, caches_prefixes, by_priority, is_ahead, *mixing = map(bool, switches)
    chunks_prompts, prefills_first = mixing
    views = _views(packed, row)
    cost, blocks = Cost(*views[:COST]), Blocks(*views[COST:NOW])
    return Replica(
        tokens,
        chunk,
        sequences,
        block_tokens,
        uses_blocks,
        caches_prefixes,
        by_priority,
        is_ahead,
        chunks_prompts,
        prefills_first,
        cost,
        blocks,
        *views[NOW:],
    )


def now_of(packed: PackedReplicas) -> Ints:
    """The ``now`` of all replicas, one in a row."""
    first, cells = packed.places[0, NOW, :2]
    count = len(packed.places)
    return packed.heap[first : first + count * cells].reshape(count, cells)


def _views(packed: PackedReplicas, row: int) -> list[Ints]:
    return [
        packed.heap[start : start + int(np.prod(shape))].reshape(shape[: _DIMENSIONS.get(n, 1)])
        for n, (start, *shape) in enumerate(packed.places[row].tolist())
    ]


def _numbers(replica: Replica) -> list[int]:
    return [int(number) for number in replica[:10]]


def _arrays(replica: Replica) -> list[Ints]:
    return [*replica.cost, *replica.blocks, replica.now, replica.running, replica.waiting]


@inlined
def replica_at(packed: PackedReplicas, replica: int) -> Replica:
    """The replica of this number; what is done to it is done in ``packed``."""
    numbers = packed.numbers[replica]
    return Replica(
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4] == 1,
        numbers[5] == 1,
        numbers[6] == 1,
        numbers[7] == 1,
        numbers[8] == 1,
        numbers[9] == 1,
        _cost_at(packed, replica),
        Blocks(
            _row(packed, replica, 12),
            _row(packed, replica, 13),
            _row(packed, replica, 14),
            _row(packed, replica, 15),
            _row(packed, replica, 16),
            _row(packed, replica, 17),
            _row(packed, replica, 18),
        ),
        _row(packed, replica, 19),
        _row(packed, replica, 20),
        _row(packed, replica, 21),
    )


@inlined
def _cost_at(packed: PackedReplicas, replica: int) -> Cost:
    knots, grid = packed.places[replica, 4], packed.places[replica, 10]
    return Cost(
        _row(packed, replica, 0),
        _row(packed, replica, 1),
        _row(packed, replica, 2),
        _row(packed, replica, 3),
        _row(packed, replica, 4).reshape((knots[1], knots[2])),
        _row(packed, replica, 5).reshape((knots[1], knots[2])),
        _row(packed, replica, 6),
        _row(packed, replica, 7),
        _row(packed, replica, 8),
        _row(packed, replica, 9),
        _row(packed, replica, 10).reshape((grid[1], grid[2], grid[3], grid[4])),
        _row(packed, replica, 11),
    )


@inlined
def _row(packed: PackedReplicas, replica: int, array: int) -> Ints:
    """All elements of an array."""
    place = packed.places[replica, array]
    return packed.heap[place[0] : place[0] + place[1] * place[2] * place[3] * place[4]]
