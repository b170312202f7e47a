"""The tables of calls of a workload's requests; equal requests share one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.compiled.call_rows import has_rows, tables_of_lengths
from simulator.compiled.call_tables import CallTables, TableBuilder, TextNumbers
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.workload import RequestShape

# An int64 array.
Ints = Any

# Below so many different requests the conductor is as fast as arrays are.
MANY = 8


@dataclass(frozen=True)
class WorkloadTables:
    """What the requests of a workload play.

    Attributes:
        numbers: the table of each request.
        texts: those that segments name.
    """

    pipeline: Pipeline
    numbers: Ints
    tables: CallTables
    texts: TextNumbers


def tables_of(
    pipeline: Pipeline,
    schedule: Schedule,
    requests: Sequence[RequestShape],
    texts: TextNumbers | None,
) -> WorkloadTables | None:
    """None if what any of ``requests`` reads depends on the clock.

    Args:
        texts: get their numbers here; None: no engine caches prefixes, and nobody asks for them.
    """
    shapes, numbers = _distinct(requests)
    if len(shapes) >= MANY and has_rows(schedule, shapes):
        tables = tables_of_lengths(pipeline, schedule, shapes, texts)
    else:
        builder = TableBuilder(pipeline, schedule, texts)
        if not all(builder.add(shape) for shape in shapes):
            return None
        tables = builder.tables()
    return WorkloadTables(pipeline, numbers, tables, texts or TextNumbers())


def _distinct(requests: Sequence[RequestShape]) -> tuple[list[RequestShape], Ints]:
    """One of each kind, and the kind of each request."""
    numbers: dict[object, int] = {}
    # The same object is there again and again, so its identity is the quick key.
    by_identity: dict[int, int] = {}
    shapes: list[RequestShape] = []
    for request in requests:
        if id(request) not in by_identity:
            number = by_identity[id(request)] = numbers.setdefault(
                request.lengths_key, len(numbers)
            )
            if number == len(shapes):
                shapes.append(request)
    return shapes, np.asarray([by_identity[id(request)] for request in requests])
