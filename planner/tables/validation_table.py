"""The table of forecast beside measurement, for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.table import Table

from planner.figures.metric_table import METRICS
from planner.figures.number_format import number, with_interval
from planner.figures.shown_columns import WITH_INTERVAL, shown_columns, text_columns
from planner.results.measured_limits import verdict_of
from staircase.metrics.request_metrics import Summary

# Some of these need torch, which commands that only simulate should not wait for.
if TYPE_CHECKING:
    from planner.results.plans import Candidate
    from planner.results.validation import Validation


@dataclass(frozen=True)
class TableRow:
    """``kind`` is forecast or measured, or empty where a table has only one of them."""

    name: str
    kind: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def validation_cells(validation: Validation) -> Cells:
    """With a column that says whether the plan's limits were kept as measured."""
    cells = _cells_of(
        (row.name, kind, metrics)
        for row in validation.rows
        for kind, metrics in (("forecast", row.candidate.forecast), ("measured", row.measured))
    )
    verdicts = {
        row.name: verdict_of(one for one in validation.limits if one.name == row.name)
        for row in validation.rows
    }
    rows = (
        replace(row, cells=(*row.cells, verdicts[row.name] if row.kind == "measured" else ""))
        for row in cells.rows
    )
    return Cells((*cells.columns, "limits"), tuple(rows)) if validation.limits else cells


def text_cells(validation: Validation) -> Cells:
    """What the answers of every schedule are like as texts, as measured."""
    rows = [(row.name, "", row.measured) for row in validation.rows]
    return _cells(rows, text_columns(name for row in validation.rows for name in row.measured))


def forecast_cells(candidates: Mapping[str, Candidate]) -> Cells:
    return _cells_of((name, "forecast", one.forecast) for name, one in candidates.items())


def _cells_of(entries: Iterable[tuple[str, str, Mapping[str, Summary]]]) -> Cells:
    """With the columns that some entry fills."""
    rows = list(entries)
    return _cells(rows, shown_columns({name for _, _, metrics in rows for name in metrics}))


def _cells(rows: Iterable[tuple[str, str, Mapping[str, Summary]]], columns: Sequence[str]) -> Cells:
    return Cells(
        tuple(METRICS[name].column_head for name in columns),
        tuple(
            TableRow(name, kind, tuple(_cell(metrics, column) for column in columns))
            for name, kind, metrics in rows
        ),
    )


def _cell(metrics: Mapping[str, Summary], column: str) -> str:
    if column not in metrics:
        return "–"
    summary, factor = metrics[column], METRICS[column].factor
    if column not in WITH_INTERVAL or math.isnan(summary.low):
        return number(summary.mean * factor)
    return with_interval(summary.mean * factor, summary.low * factor, summary.high * factor)


def as_rich(cells: Cells, title: str) -> Table:
    """A column says of each row of what kind it is, where rows have kinds."""
    table = Table(title=title, title_justify="left", padding=(0, 0, 0, 1))
    table.add_column("schedule", no_wrap=True)
    has_kinds = any(row.kind for row in cells.rows)
    if has_kinds:
        table.add_column("", no_wrap=True)
    for column in cells.columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in cells.rows:
        head = (row.name, row.kind) if has_kinds else (row.name,)
        table.add_row(*head, *row.cells, end_section=row.kind == "measured")
    return table
