"""Metrics of timelines; all times in seconds.

As vLLM's ``bench serve`` defines them:

    TTFT   first token of the answer − arrival
    E2E    last token of the answer − arrival
    TPOT   (E2E − TTFT) / (answer tokens − 1)
    ITL    gaps between consecutive tokens of an answer, those of all requests in one pool

Added here:

    stall  time that somebody who reads r tokens a second waits after the first token
    queued time that its calls waited for the beginning of their prefill, summed
    busy   device time of its calls; an iteration that serves several calls counts for each

Requests without a complete answer are left out of summaries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from staircase.timeline import Timeline, to_s

READING_RATE = 10.0
RESAMPLES = 500
# Up to so many values an interval is a bootstrap's.
FEW = 200
# Standard deviations from the mean to the ends of a normal 90 % interval.
Z90 = 1.6449
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RequestMetrics:
    ttft_s: float
    tpot_s: float
    e2e_s: float
    stall_s: float
    queued_s: float
    busy_s: float
    answer_tokens: float
    prefilled_tokens: float
    cached_tokens: float


METRICS: tuple[str, ...] = tuple(field.name for field in fields(RequestMetrics))


@dataclass(frozen=True)
class Summary:
    """One metric over many requests; ``low`` and ``high`` are the mean's 90 % interval."""

    mean: float
    low: float
    high: float
    p50: float
    p90: float
    p99: float

    @staticmethod
    def of(value: float) -> Summary:
        """Of a figure that is one for the whole run."""
        return Summary(*[value] * 6)


UNDEFINED = Summary.of(float("nan"))


def measure(timeline: Timeline, reading_rate: float = READING_RATE) -> RequestMetrics:
    """The metrics of one request; NaN where the answer has too few tokens."""
    answer = [to_s(ps - timeline.arrival_ps) for ps in timeline.answer_ps]
    count = len(answer)
    ttft, e2e = (answer[0], answer[-1]) if answer else (float("nan"), float("nan"))
    return RequestMetrics(
        ttft_s=ttft,
        tpot_s=(e2e - ttft) / (count - 1) if count > 1 else float("nan"),
        e2e_s=e2e,
        stall_s=stall(answer, reading_rate),
        queued_s=to_s(sum(span.started_ps - span.submitted_ps for span in timeline.spans)),
        busy_s=to_s(sum(span.busy_ps for span in timeline.spans)),
        answer_tokens=count,
        prefilled_tokens=sum(span.prefilled_tokens for span in timeline.spans),
        cached_tokens=sum(span.cached_tokens for span in timeline.spans),
    )


def stall(times_s: Sequence[float], reading_rate: float) -> float:
    """Seconds that a reader of ``reading_rate`` tokens/s waits after the first token.

    The reader takes token k at c_k = max(t_k, c_{k−1} + 1/r), so the last one at
    max_k(t_k + (n − k)/r); without waiting it would be t_1 + (n − 1)/r.
    """
    if len(times_s) < 2:
        return 0.0
    times = np.asarray(times_s)
    remaining = np.arange(len(times) - 1, -1, -1) / reading_rate
    arrivals = times + remaining
    return float(arrivals.max() - arrivals[0])


def summarize(values: Sequence[float] | Floats, seed: int = 0) -> Summary:
    """Mean with its interval, and percentiles; NaNs are left out."""
    data = np.asarray(values, dtype=np.float64)
    data = data[~np.isnan(data)]
    if not len(data):
        return UNDEFINED
    return _summary(data, _interval(data, np.ones(len(data)), seed))


def summarize_pooled(groups: Sequence[Floats], seed: int = 0) -> Summary:
    """The same of the values of all ``groups`` together.

    Values of one group (gaps of one request) are alike, so the interval is that of whole groups.
    """
    filled = [group for group in groups if len(group)]
    if not filled:
        return UNDEFINED
    sums = np.array([group.sum() for group in filled])
    counts = np.array([float(len(group)) for group in filled])
    return _summary(np.concatenate(filled), _interval(sums, counts, seed))


def _interval(sums: Floats, counts: Floats, seed: int) -> tuple[float, float]:
    """90 % interval of Σ sums / Σ counts: a bootstrap, or the normal one if there are many."""
    size = len(sums)
    if size <= FEW:
        drawn = np.random.default_rng(seed).integers(0, size, (RESAMPLES, size))
        means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        low, high = np.percentile(means, [5, 95])
        return float(low), float(high)
    mean = sums.sum() / counts.sum()
    error = np.std(sums - mean * counts) * np.sqrt(size) / counts.sum()
    return float(mean - Z90 * error), float(mean + Z90 * error)


def _summary(data: Floats, interval: tuple[float, float]) -> Summary:
    p50, p90, p99 = (float(percentile) for percentile in np.percentile(data, [50, 90, 99]))
    return Summary(float(data.mean()), *interval, p50, p90, p99)
