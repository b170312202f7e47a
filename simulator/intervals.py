"""Intervals of forecasts that hold a profile's stated error beside the requests' spread.

A profile that is off by a factor f makes all times of a request f times as long, so

    S_f(r) = max_k(f·a_k − (k − 1)/r) = f·S(f·r)

and every other time is f times what it was. The two deviations are independent, so to each side
the interval's half is √(half by requests² + half by profile²), the rule for independent errors of
JCGM 100:2008, 5.1.2. The stated error is an "at most", so it is half of log f's 90 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from profiles.latency.profile import EngineProfile
from staircase.metrics.request_metrics import Summary, smooth_start
from staircase.timeline import PS_PER_S, Timeline, to_s

# Those that grow with the profile's times; of the reader's own, ``smooth_start_s`` and ``stall_s``,
# the reading rate has a say.
SCALED = ("ttft_s", "e2e_s", "tpot_s", "itl_s", "longest_gap_s", "queued_s", "busy_s")
READERS = ("smooth_start_s", "stall_s")


def stated_error(profiles: Iterable[EngineProfile]) -> float:
    """The largest of the engines' prefill and decode; 0 of none."""
    fits = [fit for one in profiles for fit in (one.prefill, one.decode)]
    return max((fit.stated_error for fit in fits), default=0.0)


def with_profile_error(
    metrics: Mapping[str, Summary], lines: Sequence[Timeline], reading_rate: float, error: float
) -> dict[str, Summary]:
    """``metrics`` with intervals of times that hold ``error``.

    Args:
        lines: requests of which the metrics are, or some of them.
        error: half of the 90 % interval of the logarithm of the profile's factor.
    """
    factors = math.exp(-error), math.exp(error)
    usual, low, high = (_readers(lines, reading_rate, factor) for factor in (1.0, *factors))
    found = dict(metrics)
    for name in (name for name in SCALED if name in metrics):
        mean = metrics[name].mean
        found[name] = _widened(metrics[name], *(mean * (factor - 1) for factor in factors))
    for name in READERS:
        ends = (end[name] - usual[name] for end in (low, high))
        found[name] = _widened(metrics[name], *ends)
    return found


def _widened(summary: Summary, less: float, more: float) -> Summary:
    """By deviations of the mean; a time is never below 0."""
    low = summary.mean - math.hypot(summary.mean - summary.low, less)
    high = summary.mean + math.hypot(summary.high - summary.mean, more)
    return replace(summary, low=max(low, 0.0) if low == low else low, high=high)


def _readers(lines: Sequence[Timeline], reading_rate: float, factor: float) -> dict[str, float]:
    """Means of ``READERS`` where all times are ``factor`` times as long."""
    rows = [
        np.array(line.answer_ps, dtype=np.int64) - line.arrival_ps
        for line in lines
        if line.answer_ps and not line.error
    ]
    # No integer, of which 64 bits hold fewer the slower the reader seems.
    step = PS_PER_S / (reading_rate * factor)
    starts = [smooth_start(row, step) for row in rows]
    stalls = [start - int(row[0]) for start, row in zip(starts, rows, strict=True)]
    columns = (starts, stalls)
    return {
        name: factor * to_s(float(np.mean(column))) if column else math.nan
        for name, column in zip(READERS, columns, strict=True)
    }
