"""Rows of measurements in CSV files of others; what is wrong names file, line and column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from staircase.errors import ProfileError
from staircase.files import read_csv

# More of a unit was never measured; sums and products of fewer are finite.
MOST = 1e15


@dataclass(frozen=True)
class Row:
    """Cells by column, and where they are."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def number(self, column: str) -> float:
        """A finite number that is not negative."""
        cell = self.cells[column]
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        # So written, the comparison fails for NaN as well.
        if not 0 <= value <= MOST:
            raise self.error(column, "must be a number, 0 or more")
        return value

    def positive(self, column: str) -> float:
        """A finite number above 0: what was measured takes some time."""
        value = self.number(column)
        if value == 0:
            raise self.error(column, "must be more than 0")
        return value

    def count(self, column: str, least: int = 0) -> int:
        value = self.positive(column) if least else self.number(column)
        if not value.is_integer():
            raise self.error(column, "must be a whole number")
        return int(value)

    def error(self, column: str, wanted: str) -> ProfileError:
        said = f"{column} {self.cells[column]!r} {wanted}"
        return ProfileError(f"{self.path}, line {self.line}: {said}")


def read_rows(path: Path, columns: Sequence[str], what: str) -> list[Row]:
    """All rows of these columns, at least one.

    Raises:
        ProfileError: the file or a column is missing, or it has no row.
    """
    found = read_csv(path, columns, ProfileError, what)
    rows = [Row(path, line, cells) for line, cells in found]
    if not rows:
        raise ProfileError(f"{path}, line 2: no row; it should be {what}")
    return rows
