"""A forecast beside a measurement of the same requests.

Distributions are compared as they are; errors of single requests need pairs, by request number.
Gaps between tokens (ITL) are not paired, for two runs of a request batch them differently.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from planner.extras import extras
from planner.figures.json_pointers import Figures
from planner.figures.metric_table import METRICS
from planner.figures.number_format import number
from planner.results.shown import Row, Shown
from staircase.metrics.request_metrics import (
    READING_RATE,
    Summary,
    smooth_start,
    summarize,
    summarize_pooled,
)
from staircase.records import Record

NAN = float("nan")
ERRORS = ("bias", "mape", "pearson", "ks")


@dataclass(frozen=True)
class MetricComparison:
    """One metric; NaN where a figure is undefined or needs pairs.

    Attributes:
        bias: relative error of the forecast's mean.
        mape: mean absolute relative error over pairs.
        pearson: correlation over pairs.
        ks: Kolmogorov-Smirnov distance of the distributions.
    """

    forecast: Summary
    measured: Summary
    bias: float
    mape: float
    pearson: float
    ks: float


@dataclass(frozen=True)
class RecordComparison(Shown):
    """Two records, by metric.

    Attributes:
        forecast_requests, measured_requests: all, with those that failed.
        pairs: requests answered in both; 0 if the records hold different numbers of requests.
        unlike_pairs: those whose answers have different numbers of tokens.
        lacking: by agent, measured answers that were written without all of its text.
    """

    forecast_requests: int
    measured_requests: int
    pairs: int
    unlike_pairs: int
    metrics: Mapping[str, MetricComparison]
    lacking: Mapping[str, int]

    def table_rows(self) -> list[Row]:
        """One of each metric."""
        return [
            {
                "metric": name,
                **{f"forecast.{key}": value for key, value in asdict(one.forecast).items()},
                **{f"measured.{key}": value for key, value in asdict(one.measured).items()},
                **{key: getattr(one, key) for key in ERRORS},
            }
            for name, one in self.metrics.items()
        ]

    def shown_rows(self) -> list[Row]:
        return [
            {
                "": METRICS[name].row_head,
                "forecast": number(one.forecast.mean * METRICS[name].factor),
                "measured": number(one.measured.mean * METRICS[name].factor),
                **{key: number(getattr(one, key)) for key in ERRORS},
            }
            for name, one in self.metrics.items()
        ]

    def figure(self) -> Any:
        """Both means of every metric, with their intervals."""
        with extras():
            from planner.charts.notebook import comparison_figure
        content = TypeAdapter(RecordComparison).dump_python(self, mode="json")
        return comparison_figure(Figures({"comparison": content}))


def compare(
    forecast: Sequence[Record], measured: Sequence[Record], reading_rate: float = READING_RATE
) -> RecordComparison:
    """Every metric that both records know; smooth starts and stalls of one ``reading_rate``."""
    one, other = _metrics(forecast, reading_rate), _metrics(measured, reading_rate)
    is_paired = len(forecast) == len(measured)
    metrics = {
        name: _compare_values(one[name], other[name], is_paired)
        for name in one
        if not (np.isnan(one[name]).all() or np.isnan(other[name]).all())
    }
    gaps, other_gaps = _gaps(forecast), _gaps(measured)
    if gaps and other_gaps:
        metrics["itl_s"] = _compare_gaps(gaps, other_gaps)
    pairs = _answered(forecast, measured) if is_paired else []
    unlike = sum(a.answer_tokens != b.answer_tokens for a, b in pairs)
    lacking = Counter(name for row in measured if row.error is None for name in row.missing)
    return RecordComparison(len(forecast), len(measured), len(pairs), unlike, metrics, lacking)


def _metrics(records: Sequence[Record], reading_rate: float) -> dict[str, np.ndarray]:
    smooth_s = [_smooth_start_s(row, reading_rate) for row in records]
    rows = {
        "ttft_s": [row.ttft_s for row in records],
        "smooth_start_s": smooth_s,
        "e2e_s": [row.e2e_s for row in records],
        "tpot_s": [row.tpot_s for row in records],
        "stall_s": [
            start - row.token_s[0] if row.token_s else NAN
            for row, start in zip(records, smooth_s, strict=True)
        ],
    }
    failed = np.array([row.error is not None for row in records])
    return {name: np.where(failed, NAN, values) for name, values in rows.items()}


def _smooth_start_s(row: Record, reading_rate: float) -> float:
    """NaN where pieces of several tokens came at once: when each was there is not known."""
    known = len(row.token_s) == row.answer_tokens
    return smooth_start(row.token_s, 1 / reading_rate) if known else NAN


def _gaps(records: Sequence[Record]) -> list[np.ndarray]:
    return [row.gaps_s for row in records if row.error is None and len(row.token_s) > 1]


def _answered(
    forecast: Sequence[Record], measured: Sequence[Record]
) -> list[tuple[Record, Record]]:
    pairs = zip(forecast, measured, strict=True)
    return [(one, other) for one, other in pairs if one.error is None and other.error is None]


def _compare_values(
    forecast: np.ndarray, measured: np.ndarray, is_paired: bool
) -> MetricComparison:
    """Values by request, NaN where there is none."""
    known, known_measured = forecast[~np.isnan(forecast)], measured[~np.isnan(measured)]
    both = ~(np.isnan(forecast) | np.isnan(measured)) if is_paired else None
    return MetricComparison(
        forecast=summarize(forecast.tolist()),
        measured=summarize(measured.tolist()),
        bias=bias(known, known_measured),
        mape=NAN if both is None else mape(forecast[both], measured[both]),
        pearson=NAN if both is None else pearson(forecast[both], measured[both]),
        ks=ks_distance(known, known_measured),
    )


def _compare_gaps(
    forecast: Sequence[np.ndarray], measured: Sequence[np.ndarray]
) -> MetricComparison:
    pool, measured_pool = np.concatenate(forecast), np.concatenate(measured)
    return MetricComparison(
        forecast=summarize_pooled(forecast),
        measured=summarize_pooled(measured),
        bias=bias(pool, measured_pool),
        mape=NAN,
        pearson=NAN,
        ks=ks_distance(pool, measured_pool),
    )


def bias(forecast: np.ndarray, measured: np.ndarray) -> float:
    """Relative error of the mean; NaN if the measured mean is 0."""
    real = measured.mean()
    return float(forecast.mean() / real - 1) if real else NAN


def mape(forecast: np.ndarray, measured: np.ndarray) -> float:
    """Mean over pairs of |forecast / measured − 1|; NaN if a measured value is 0."""
    if not len(measured) or not measured.all():
        return NAN
    return float(np.abs(forecast / measured - 1).mean())


def pearson(forecast: np.ndarray, measured: np.ndarray) -> float:
    """Correlation over pairs; NaN if either is constant."""
    if len(forecast) < 2 or not np.ptp(forecast) or not np.ptp(measured):
        return NAN
    # Of numbers too large to be squared nothing can be told.
    with np.errstate(all="ignore"):
        return float(np.corrcoef(forecast, measured)[0, 1])


def ks_distance(forecast: np.ndarray, measured: np.ndarray) -> float:
    """Kolmogorov-Smirnov: the most by which the shares of values up to some x differ."""
    values = np.concatenate([forecast, measured])
    below = np.searchsorted(np.sort(forecast), values, side="right") / len(forecast)
    below_measured = np.searchsorted(np.sort(measured), values, side="right") / len(measured)
    return float(np.abs(below - below_measured).max())
