"""The metrics of single requests as a table for spreadsheets and data frames.

pandas.read_csv("requests.csv")
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from staircase.files import write_pieces
from staircase.metrics.measured import Measured


def write_request_table(path: Path, runs: Sequence[Measured]) -> None:
    """Writes a CSV file: a row for each request with a complete answer, in the order of the runs.

    Its columns are the run, from 1, and the metrics that any of the requests has, in seconds and
    tokens. A cell of what a request does not have is empty.

    Raises:
        InputError: nothing can be written there.
    """
    write_pieces(path, _lines(runs))


def _lines(runs: Sequence[Measured]) -> Iterator[str]:
    names = [name for name in runs[0].columns if any(run.has(name) for run in runs)]
    yield ",".join(["run", *names]) + "\n"
    for number, run in enumerate(runs, start=1):
        for row in zip(*(run.columns[name] for name in names), strict=True):
            yield ",".join([str(number), *map(_cell, row)]) + "\n"


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.12g}"
