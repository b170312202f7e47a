"""Rows that a chart shows, each value taken from its place in the documents.

A row names its place in ``at``; ``columns`` says how to get from there to each value. The columns
go into the chart's ``usermeta``, so that a test can look every value up.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from planner.figures.json_pointers import Figures

Entry = tuple[str, Mapping[str, str]]
"""A row's place, and labels: words of the chart's own."""


@dataclass(frozen=True)
class Dataset:
    """Rows of one name.

    Attributes:
        columns: by field, the way from a row's place, as ``forecast/ttft_s/mean*1000`` or
            ``../name``; from the top if it begins with ``/``.
    """

    name: str
    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]

    @property
    def data(self) -> alt.InlineData:
        return alt.InlineData(name=self.name, values=[dict(row) for row in self.rows])


def dataset(
    figures: Figures, name: str, columns: Mapping[str, str], entries: Iterable[Entry]
) -> Dataset:
    """Raw values, or scaled by the factor of their place; None where there is none."""
    return Dataset(name, columns, [_row(figures, columns, *entry) for entry in entries])


def place_from(at: str, way: str) -> str:
    """The place of a column in the row at ``at``."""
    path, star, factor = way.partition("*")
    return posixpath.normpath(posixpath.join("/", at, path)).lstrip("/") + star + factor


def with_columns(chart: Any, datasets: Iterable[Dataset]) -> Any:
    """``chart`` with the columns of its datasets."""
    return chart.properties(usermeta={"columns": {d.name: dict(d.columns) for d in datasets}})


def _row(
    figures: Figures, columns: Mapping[str, str], at: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    return {"at": at, **labels, **dict(_values(figures, columns, at))}


def _values(figures: Figures, columns: Mapping[str, str], at: str) -> Iterator[tuple[str, Any]]:
    for field, way in columns.items():
        place = place_from(at, way)
        value = figures.scaled(place) if "*" in place else figures.value(place)
        yield field, None if isinstance(value, float) and not math.isfinite(value) else value
