"""Results that show themselves in a notebook, and give their figures as a data frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from planner.extras import extras
from planner.figures.metric_table import METRICS
from planner.figures.number_format import number
from planner.figures.shown_columns import shown_columns
from staircase.metrics.request_metrics import Summary

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]


class Shown(ABC):
    """Of every result of the front door that has figures of several schedules or metrics."""

    @abstractmethod
    def table_rows(self) -> list[Row]:
        """All of it, times in seconds."""

    @abstractmethod
    def shown_rows(self) -> list[Row]:
        """What a notebook shows of it."""

    @abstractmethod
    def figure(self) -> Any:
        """An ``altair`` chart of it.

        Raises:
            MissingExtraError: the extra ``report`` is not installed.
        """

    def to_frame(self) -> pandas.DataFrame:
        """All figures, times in seconds; a mean has the figure's name, others as ``ttft_s.p90``.

        Raises:
            MissingExtraError: the extra ``notebook`` is not installed.
        """
        with extras():
            import pandas
        return pandas.DataFrame(self.table_rows())

    def _repr_html_(self) -> str:
        return html_table(self.shown_rows())


def figures_by_statistic(summaries: Mapping[str, Summary]) -> Row:
    """``ttft_s`` is a mean, ``ttft_s.p90`` a percentile, ``ttft_s.low`` an end of the interval."""
    return {
        name if statistic == "mean" else f"{name}.{statistic}": value
        for name, summary in summaries.items()
        for statistic, value in asdict(summary).items()
    }


def shown_figures(summaries: Mapping[str, Summary]) -> Row:
    """Means as tables of schedules show them."""
    return {
        METRICS[name].column_head: number(summaries[name].mean * METRICS[name].factor)
        for name in shown_columns(summaries)
    }


def html_table(rows: Sequence[Row]) -> str:
    """Columns in the order in which rows have them; a dash where a row has none."""
    heads = list(dict.fromkeys(head for row in rows for head in row))
    lines = [Markup("<th>{}</th>").format(head) for head in heads]
    body = [
        Markup("<tr>{}</tr>").format(
            Markup("").join(Markup("<td>{}</td>").format(row.get(head, "–")) for head in heads)
        )
        for row in rows
    ]
    table = Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>")
    return str(table.format(Markup("").join(lines), Markup("").join(body)))
