"""The table of ``staircase compare``."""

from __future__ import annotations

import math

from rich.table import Table

from planner.evaluation.compare import MetricComparison, RecordComparison
from planner.figures.metric_table import METRICS
from planner.figures.number_format import number
from planner.tables.metrics_table import ROWS
from staircase.metrics.request_metrics import Summary

COLUMNS = ("mean", "P50", "P90", "P99", "forecast of the mean", "MAPE", "r", "KS")
LEAST_TOLD = 0.001


def comparison_table(comparison: RecordComparison) -> Table:
    """Two rows for each metric; an undefined figure is a dash."""
    table = Table(title="Forecast and measurement", title_justify="left")
    for column in ("", "", *COLUMNS):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for metric in (METRICS[name] for name in ROWS if name in comparison.metrics):
        found, factor = comparison.metrics[metric.name], metric.factor
        forecast, measured = _cells(found.forecast, factor), _cells(found.measured, factor)
        table.add_row(metric.row_head, "forecast", *forecast, *_errors(found))
        table.add_row("", "measured", *measured, end_section=True)
    return table


def describe_pairs(comparison: RecordComparison) -> str:
    """What the figures rest on, in words."""
    forecast, measured = comparison.forecast_requests, comparison.measured_requests
    if forecast != measured:
        return (
            f"{forecast} requests in the forecast, {measured} in the measurement: not paired, "
            f"only distributions are compared{_lacking(comparison)}"
        )
    words = f"{forecast} requests, {comparison.pairs} answered in both"
    if comparison.unlike_pairs:
        words += f"; answers differ in length in {comparison.unlike_pairs}: the same requests?"
    return words + _lacking(comparison)


def _lacking(comparison: RecordComparison) -> str:
    found = comparison.lacking.items()
    return "".join(f"; {count} measured answers lack {name} or part of it" for name, count in found)


def describe_bias(bias: float) -> str:
    if math.isnan(bias):
        return "–"
    if abs(bias) < LEAST_TOLD:
        return "less than 0.1 % off"
    return f"{_percent(abs(bias))} too {'low' if bias < 0 else 'high'}"


def _cells(summary: Summary, factor: float) -> list[str]:
    values = (summary.mean, summary.p50, summary.p90, summary.p99)
    return [number(value * factor) for value in values]


def _errors(metric: MetricComparison) -> list[str]:
    pearson, ks = (_or_dash(value, f"{value:.3f}") for value in (metric.pearson, metric.ks))
    return [describe_bias(metric.bias), _percent(metric.mape), pearson, ks]


def _percent(share: float) -> str:
    return _or_dash(share, f"{share * 100:.1f} %")


def _or_dash(value: float, words: str) -> str:
    return "–" if math.isnan(value) else words
