"""Intervals of forecasts that hold a profile's stated error beside the requests' spread.

A profile that is off by a factor f makes all times of a request f times as long, so

    S_f(r) = max_k(f·a_k − (k − 1)/r) = f·S(f·r)

and every other time is f times what it was. What comes as an input comes on a clock of its own:
there only what follows the end of the input, at E, is longer, a_k > E becomes E + f·(a_k − E). The
two deviations are independent, so to each side
the interval's half is √(half by requests² + half by profile²), the rule for independent errors of
JCGM 100:2008, 5.1.2. The stated error is an "at most", so it is half of log f's 90 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from profiles.latency.profile import EngineProfile
from staircase.metrics.request_metrics import OF_INPUTS, Summary, smooth_start
from staircase.timeline import PS_PER_S, Timeline, to_s

# Those that grow with the profile's times.
SCALED = ("tpot_s", "itl_s", "longest_gap_s", "queued_s", "busy_s")


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
    usual, low, high = (_slower(lines, reading_rate, factor) for factor in (1.0, *factors))
    found = dict(metrics)
    for name in (name for name in SCALED if name in metrics):
        mean = metrics[name].mean
        found[name] = _widened(metrics[name], *(mean * (factor - 1) for factor in factors))
    for name in (name for name in usual if name in metrics):
        least = -math.inf if name in OF_INPUTS else 0.0
        less, more = (end[name] - usual[name] for end in (low, high))
        found[name] = _widened(metrics[name], less, more, least)
    return found


def _widened(summary: Summary, less: float, more: float, least: float = 0.0) -> Summary:
    """By deviations of the mean; never below ``least``."""
    low = summary.mean - math.hypot(summary.mean - summary.low, less)
    high = summary.mean + math.hypot(summary.high - summary.mean, more)
    return replace(summary, low=max(low, least) if low == low else low, high=high)


def _slower(lines: Sequence[Timeline], reading_rate: float, factor: float) -> dict[str, float]:
    """Means of the times of answers where engines take ``factor`` times as long."""
    answered = [line for line in lines if line.answer_ps and not line.error]
    rows = [_answer_s(line, factor) for line in answered]
    first, last = (np.array([row[place] for row in rows]) for place in (0, -1))
    start = np.array([smooth_start(row, 1 / reading_rate) for row in rows])
    ends_s = [math.nan if one.input_ps is None else _input_s(one) for one in answered]
    found = {
        "ttft_s": first,
        "e2e_s": last,
        "smooth_start_s": start,
        "stall_s": start - first,
        "start_after_input_s": start - ends_s,
        "last_after_input_s": last - ends_s,
    }
    return {name: float(np.mean(column)) if rows else math.nan for name, column in found.items()}


def _answer_s(line: Timeline, factor: float) -> NDArray[np.float64]:
    """When each token is there, since the request came."""
    token_s = (np.array(line.answer_ps, dtype=np.int64) - line.arrival_ps) / PS_PER_S
    end_s = _input_s(line)
    return np.where(token_s > end_s, end_s + factor * (token_s - end_s), token_s)


def _input_s(line: Timeline) -> float:
    """When the input has ended; 0 if there is none."""
    return 0.0 if line.input_ps is None else to_s(line.input_ps - line.arrival_ps)
