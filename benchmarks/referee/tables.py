"""What the referee prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Column, Table

from benchmarks.referee.judging import Judgement, Row, mean_errors
from benchmarks.referee.recorded import METRICS, RecordedRun


def run_table(run: RecordedRun, judgements: Sequence[Judgement]) -> Table:
    """Every figure beside its forecast, in milliseconds."""
    peers = sorted({name for stage in run.stages for name in stage.published})
    heads = ("requests", "figure", "measured", "forecast", "error", "by request")
    title = escape("; ".join([run.name, *run.remarks]))
    table = Table(*heads, *peers, title=title, title_justify="left")
    for judgement in judgements:
        table.add_section()
        table.add_row(f"[bold]{judgement.said}[/]")
        before = ""
        for row in _shown(judgement):
            table.add_row(row.part if row.part != before else "", *_cells(row, peers))
            before = row.part
    return table


def _shown(judgement: Judgement) -> list[Row]:
    return [
        row
        for row in judgement.rows
        if not math.isnan(row.measured_s)
        and (row.figure.statistic == "mean" or not judgement.is_aside)
    ]


def _cells(row: Row, peers: Sequence[str]) -> list[str]:
    figure = f"{METRICS[row.figure.metric]} {row.figure.statistic}"
    off = "" if math.isnan(row.by_request) else f"{row.by_request:.1%}"
    cells = [figure, _ms(row.measured_s), _ms(row.forecast_s), f"{row.error:+.1%}", off]
    for name in peers:
        said = row.published.get(name)
        cells.append(f"{_ms(said)} ({said / row.measured_s - 1:+.1%})" if said else "")
    return cells


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}"


def summary_table() -> Table:
    title = "Errors of means; of several stages the mean of their absolute values"
    heads = ("run", "nothing fitted", "constant", "on the rest", "published")
    return Table(*heads, title=title, title_justify="left", show_lines=True)


def summary_cells(run: RecordedRun, judgements: Sequence[Judgement]) -> list[str]:
    first, last = judgements[0], judgements[-1]
    is_alone = len(run.stages) == 1
    published = {**_of_stages(first), **run.published}
    return [
        run.name,
        _errors(first.errors, is_alone),
        *_fitted(last),
        "\n".join(f"{name}\n{_errors(errors, is_alone)}" for name, errors in published.items()),
    ]


def _fitted(last: Judgement) -> tuple[str, str]:
    if last.constant_s is None or last.is_aside:
        return "", "nothing to fit to and judge"
    return f"{last.constant_s * 1e3:.2f} ms", _errors(last.errors, last.parts == 1)


def refusals_table() -> Table:
    columns = [Column(head, overflow="fold") for head in ("not played", "why")]
    return Table(*columns, show_lines=True)


def _of_stages(judgement: Judgement) -> dict[str, dict[str, float]]:
    """Errors of those who published forecasts of every stage."""
    found = {}
    for name in dict.fromkeys(name for row in judgement.rows for name in row.published):
        rows = [row for row in judgement.rows if name in row.published]
        pairs = [(row.figure, row.published[name] / row.measured_s - 1) for row in rows]
        found[name] = mean_errors(pairs)
    return found


def _errors(errors: Mapping[str, float], is_signed: bool) -> str:
    sign = "+" if is_signed else ""
    return "\n".join(f"{METRICS[metric]} {error:{sign}.1%}" for metric, error in errors.items())
