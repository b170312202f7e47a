"""Rows of measurements in CSV files of others; what is wrong names file, line and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from profiles.json_node import Node
from staircase.errors import ProfileError
from staircase.files import read_csv


@dataclass(frozen=True)
class CsvRow:
    """Cells by column, and where they stand: in ``place``, a line of ``path``."""

    path: Path
    place: str
    cells: Mapping[str, str]

    def number(self, column: str) -> float:
        """A finite number that is not negative."""
        return self._node(column).number()

    def positive(self, column: str) -> float:
        """A finite number above 0: what was measured takes some time."""
        return self._node(column).positive()

    def count(self, column: str, least: int = 0) -> int:
        return self._node(column).count(least)

    def error(self, column: str, wanted: str) -> ProfileError:
        return self._node(column).error(wanted)

    def _node(self, column: str) -> Node:
        return Node(self.place, column, _value(self.cells[column]))


def _value(cell: str) -> float | str:
    """A number, where the cell is one."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(cell)
    return cell


def read_rows(path: Path, columns: Sequence[str], what: str) -> list[CsvRow]:
    """All rows of these columns, at least one.

    Raises:
        ProfileError: the file or a column is missing, or it has no row.
    """
    found = read_csv(path, columns, ProfileError, what)
    rows = [CsvRow(path, place, cells) for place, cells in found]
    if not rows:
        raise ProfileError(f"{path}, line 2: no row; it should be {what}")
    return rows
