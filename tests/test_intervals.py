"""Intervals of forecasts: they hold the requests' spread and what the profile may be off by."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.intervals import SCALED, with_profile_error
from staircase.metrics.measured import measure_all
from staircase.metrics.request_metrics import Z90, Summary, summarize
from staircase.timeline import Timeline

MS, RATE = 10**9, 100.0


def line(number: int, times_ms: list[int]) -> Timeline:
    answer_ps = tuple(ms * MS for ms in times_ms)
    return Timeline(number, 0, answer_ps[-1], (), answer_ps, {"z": len(times_ms)})


def slower(lines: list[Timeline], factor: float) -> list[Timeline]:
    return [
        replace(one, answer_ps=tuple(round(factor * ps) for ps in one.answer_ps)) for one in lines
    ]


answers = st.lists(
    st.lists(st.integers(1, 400), min_size=2, max_size=12).map(sorted), min_size=2, max_size=6
)


@given(answers, st.floats(0.01, 0.5))
def test_ends_are_those_of_a_slower_and_a_faster_engine(
    times: list[list[int]], error: float
) -> None:
    """Played again with every time longer or shorter, the reader as fast as ever."""
    lines = [line(number, row) for number, row in enumerate(times)]
    plain = measure_all(lines, RATE).summaries()
    found = with_profile_error(plain, lines, RATE, error)
    for sign, end in ((1, "high"), (-1, "low")):
        again = measure_all(slower(lines, math.exp(sign * error)), RATE).summaries()
        for name in (*SCALED, "ttft_s", "e2e_s", "smooth_start_s", "stall_s"):
            mean = plain[name].mean
            by_profile = again[name].mean - mean
            by_requests = getattr(plain[name], end) - mean
            expected = max(mean + sign * math.hypot(by_profile, by_requests), 0.0)
            assert getattr(found[name], end) == pytest.approx(expected, abs=1e-9)


def test_without_an_error_nothing_changes() -> None:
    lines = [line(0, [3, 5]), line(1, [4, 9])]
    plain = measure_all(lines, RATE).summaries()
    found = with_profile_error(plain, lines, RATE, 0.0)
    assert {n: s.high for n, s in found.items()} == pytest.approx(
        {n: s.high for n, s in plain.items()}, nan_ok=True
    )


def test_a_single_request_has_none() -> None:
    lines = [line(0, [3, 5])]
    found = with_profile_error(measure_all(lines, RATE).summaries(), lines, RATE, 0.1)
    assert math.isnan(found["ttft_s"].low)
    assert math.isnan(found["smooth_start_s"].high)


def test_they_cover_what_they_say() -> None:
    """Engines whose true pace is drawn as the error says: nine intervals in ten hold the mean."""
    rng, error, held = np.random.default_rng(0), 0.1, []
    for _ in range(300):
        drawn = [line(n, np.cumsum(rng.integers(1, 60, size=8)).tolist()) for n in range(20)]
        lines, others = drawn[:10], drawn[10:]
        found: Summary = with_profile_error(
            measure_all(lines, RATE).summaries(), lines, RATE, error
        )["smooth_start_s"]
        factor = float(np.exp(error / Z90 * rng.standard_normal()))
        real = measure_all(slower(others, factor), RATE).summaries()["smooth_start_s"].mean
        held.append(found.low <= real <= found.high)
    assert 0.8 <= np.mean(held) <= 0.97


def test_the_mean_over_other_requests_varies_as_much_again() -> None:
    """Two samples of twelve from one population: nine intervals in ten hold the other's mean."""
    rng, held = np.random.default_rng(1), []
    for _ in range(400):
        one, other = rng.exponential(size=(2, 12))
        found = summarize(one).of_other_requests()
        held.append(found.low <= other.mean() <= found.high)
    assert 0.82 <= np.mean(held) <= 0.97


def test_a_mean_without_spread_keeps_none() -> None:
    assert Summary.of(0.5).of_other_requests() == Summary.of(0.5)
    assert math.isnan(summarize([1.0]).of_other_requests().low)
