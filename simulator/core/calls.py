"""Calls of a simulation as columns that compiled code reads and writes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any


def columns(*names: str) -> np.dtype[np.void]:
    """The type of a structured array: one array, so that little is passed to compiled functions,
    with an int64 column for each name."""
    return np.dtype([(name, np.int64) for name in names])


# States of a call.
NEW, WAITING, RUNNING, ENDED = 0, 1, 2, 3


class Calls(NamedTuple):
    """All calls of a simulation, one column each; replicas share these tables.

    Attributes:
        prompt: tokens of the prompt.
        goal: tokens that it will write.
        outputs: iterations that yield something: ``goal``, and one more if the end costs one.
        watch: written tokens at which a run of iterations has to stop.
        computed: tokens of its text whose KV is there.
        done: outputs so far.
        cached: prompt tokens found in the cache when it was first admitted.
        hash_start, hashes: chain hashes of its text's full blocks, ``hashes[hash_start[i]:]``.
        table_start, table, held: its KV blocks.
        planned: tokens that the iteration under way computes.
        times_start, times_ps: when it wrote each token, if ``times_start`` is not negative.
    """

    prompt: Ints
    goal: Ints
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
    ended_ps: Ints
    busy_ps: Ints
    times_start: Ints
    times_ps: Ints


COLUMNS = tuple(name for name in Calls._fields if name not in ("hashes", "table", "times_ps"))


def make_calls(calls: int, hashes: int, blocks: int, times: int) -> Calls:
    """Columns with room for so many rows, hashes, blocks and token times."""
    columns = {name: np.zeros(calls, dtype=np.int64) for name in COLUMNS}
    for name in ("started_ps", "ended_ps", "times_start", "watch"):
        columns[name][:] = -1
    return Calls(
        **columns,
        hashes=np.zeros(hashes, dtype=np.int64),
        table=np.zeros(blocks, dtype=np.int64),
        times_ps=np.zeros(times, dtype=np.int64),
    )


def grown(calls: Calls, rows: int, hashes: int, blocks: int, times: int) -> Calls:
    """The same columns with room for at least so much: those with too little are made anew, twice
    as long as is needed."""
    needed = dict.fromkeys(COLUMNS, rows) | {"hashes": hashes, "table": blocks, "times_ps": times}
    short = {name for name, size in needed.items() if len(getattr(calls, name)) < size}
    if not short:
        return calls
    wanted = {name: 2 * size if name in short else 0 for name, size in needed.items()}
    larger = make_calls(2 * rows, wanted["hashes"], wanted["table"], wanted["times_ps"])
    for name in short:
        old = getattr(calls, name)
        getattr(larger, name)[: len(old)] = old
    return calls._replace(**{name: getattr(larger, name) for name in short})
