"""Many staircases as arrays, so that a million of them need no objects.

candidates_of([constant(8, 16, 16), geometric(8, 2, 64, 16), normal()])
constant_candidates(first=[8, 8, 16], chunk=[16, 32, 32], write=16)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.compiled.call_tables import THE_END
from staircase.errors import ScheduleError
from staircase.schedule import READ_ALL, Staircase, Step

Ints = NDArray[np.int64]

# More tokens than any text has, and few enough to be added up.
MANY_TOKENS = 1 << 31


@dataclass(frozen=True)
class Candidates:
    """Staircases; a row of every array is one of them, in tokens.

    Attributes:
        reads, writes: [candidates, steps]; the first steps. THE_END stands for reading all, and
            for writing to the end.
        more_reads, more_writes: [candidates]; what every further step reads more, and writes.
    """

    reads: Ints
    writes: Ints
    more_reads: Ints
    more_writes: Ints

    def __post_init__(self) -> None:
        if self.reads.shape != self.writes.shape or not self.reads.shape[1]:
            raise ScheduleError(
                f"reads are {self.reads.shape}, writes {self.writes.shape}: must be "
                "[candidates, steps] with a step or more"
            )
        is_open = self.reads[:, -1] < THE_END
        falls = np.any(np.diff(self.reads, axis=1, prepend=0) < 0, axis=1)
        _refuse(falls, "unreads: reads must be 0 or more, and never fall")
        _refuse((self.more_reads < 1) & is_open, "stands still: later steps must read 1 or more")
        _refuse(np.any(self.writes < 1, axis=1), "has a step that writes less than 1 token")
        _refuse((self.more_writes < 1) & is_open, "writes less than 1 token in later steps")

    def __len__(self) -> int:
        return len(self.reads)

    def step(self, number: int, rows: Ints) -> tuple[Ints, Ints]:
        """What step ``number``, from 0, of the candidates in ``rows`` reads up to, and writes."""
        beyond = number - self.reads.shape[1] + 1
        if beyond <= 0:
            return self.reads[rows, number], self.writes[rows, number]
        return self.reads[rows, -1] + beyond * self.more_reads[rows], self.more_writes[rows]


def _refuse(wrong: NDArray[np.bool_], what: str) -> None:
    if np.any(wrong):
        raise ScheduleError(f"candidate {np.flatnonzero(wrong)[0]} {what}")


def candidates_of(staircases: Sequence[Staircase]) -> Candidates:
    """The same staircases, in their order."""
    # One step beyond the given ones, which reads all where a staircase does not grow.
    columns = 1 + max((len(one.steps) for one in staircases), default=0)
    steps = [[one.step(number) for number in range(columns)] for one in staircases]
    shape = (len(staircases), columns)
    reads = np.asarray([[_tokens(step.read) for step in row] for row in steps], dtype=np.int64)
    writes = np.asarray([[_tokens(step.write) for step in row] for row in steps], dtype=np.int64)
    growths = [_growth(one, row[-1]) for one, row in zip(staircases, steps, strict=True)]
    return Candidates(
        # What comes after a step that reads all is never played.
        np.maximum.accumulate(reads.reshape(shape), axis=1),
        writes.reshape(shape),
        np.asarray([growth.read or 0 for growth in growths], dtype=np.int64),
        np.asarray([_tokens(growth.write) for growth in growths], dtype=np.int64),
    )


def _growth(staircase: Staircase, last: Step) -> Step:
    return staircase.growth if staircase.growth and last.read is not None else READ_ALL


def _tokens(count: int | None) -> int:
    return THE_END if count is None else min(count, MANY_TOKENS)


def constant_candidates(
    first: ArrayLike, chunk: ArrayLike, write: ArrayLike, first_write: ArrayLike | None = None
) -> Candidates:
    """``constant`` staircases; each argument is one number by candidate, or one for all."""
    given = (first, chunk, write, write if first_write is None else first_write)
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(column)) for column in given))
    reads, more, writes, first_writes = (
        np.minimum(column, MANY_TOKENS).astype(np.int64) for column in columns
    )
    return Candidates(reads[:, None], first_writes[:, None], more, writes)
