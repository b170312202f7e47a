"""Leave-out errors of imported profiles: what was measured against a fit that did not see it.

    python -m benchmarks.importers DATA

DATA holds ``splitwise-sim/perf_model.csv``. Whole batch sizes and whole prompt sizes are left out
one after another; the two lines that the grid consists of, batch 1 and prompt 512, stay.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from profiles.splitwise import GridPoint, GridProfile, fit_grid, read_splitwise

COLUMNS = ("what", "left out", "points", "median error", "90 % below", "worst")
# Splitwise's grid is two lines, which cross here.
PROMPT, BATCH = 512, 1


def grid_errors(
    profiles: Iterable[GridProfile], size: Callable[[GridPoint], int], kept: int, inside: bool
) -> Iterator[tuple[float, float]]:
    """Relative errors of prefill and decode, each size but ``kept`` left out in turn.

    Args:
        inside: only sizes that have a smaller and a larger one.
    """
    for profile in profiles:
        sizes = sorted({size(point) for point in profile.points})
        for value in sizes[1:-1] if inside else sizes:
            if value != kept:
                yield from _errors_without(profile, size, value)


def _errors_without(
    profile: GridProfile, size: Callable[[GridPoint], int], value: int
) -> Iterator[tuple[float, float]]:
    fitted = fit_grid(point for point in profile.points if size(point) != value)
    for point in profile.points:
        if size(point) == value:
            prefill_s = fitted.prefill_s(point.prompt, point.batch)
            decode_s = fitted.decode_s(point.batch, point.context)
            yield prefill_s / point.prefill_s - 1, decode_s / point.decode_s - 1


def grid_rows(profiles: Sequence[GridProfile]) -> Iterator[Sequence[str]]:
    for name, size, kept in (
        ("batch sizes", lambda point: point.batch, BATCH),
        ("prompt sizes", lambda point: point.prompt, PROMPT),
    ):
        for where, inside in (("", False), (", not the ends", True)):
            errors = list(grid_errors(profiles, size, kept, inside))
            for phase, column in zip(("prefill", "decode"), zip(*errors, strict=True), strict=True):
                yield row(f"Splitwise {phase}", f"{name}{where}", column)


def row(what: str, left_out: str, errors: Sequence[float]) -> Sequence[str]:
    off = np.abs(errors)
    figures = (np.median(off), np.quantile(off, 0.9), off.max())
    return what, left_out, str(len(off)), *(f"{figure:.1%}" for figure in figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    table = Table(*COLUMNS)
    profiles = list(read_splitwise(data / "splitwise-sim" / "perf_model.csv").values())
    for cells in grid_rows(profiles):
        table.add_row(*cells)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
