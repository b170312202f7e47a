from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staircase.metrics import measure, stall, summarize, summarize_all
from staircase.timeline import Span, Timeline
from staircase.trace import write_trace

MS = 10**9


def timeline(*answer_ms: int) -> Timeline:
    span = Span(0, "a", "a", 0, (), 0, 0, 1 * MS, 3 * MS, 9 * MS, 8 * MS, 10, 4, 3, "stop")
    return Timeline(0, 0, 9 * MS, (span,), tuple(ms * MS for ms in answer_ms), {"a": 3})


def test_definitions() -> None:
    row = measure(timeline(3, 5, 9))
    assert row.ttft_s == pytest.approx(0.003)
    assert row.e2e_s == pytest.approx(0.009)
    assert row.tpot_s == pytest.approx(0.003)
    assert row.prefilled_tokens == 6
    assert row.busy_s == pytest.approx(0.008)


def test_an_answer_of_one_token_has_no_tpot() -> None:
    assert math.isnan(measure(timeline(3)).tpot_s)
    assert math.isnan(summarize_all([timeline()])["ttft_s"].mean)


def slow_stall(times: list[float], rate: float) -> float:
    """The reader, token by token."""
    clock, waited = times[0], 0.0
    for time in times[1:]:
        clock += 1 / rate
        waited += max(0.0, time - clock)
        clock = max(clock, time)
    return waited


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30).map(sorted), st.floats(0.5, 50))
def test_stall_is_what_a_reader_waits(times: list[float], rate: float) -> None:
    assert stall(times, rate) == pytest.approx(slow_stall(times, rate), abs=1e-9)


def test_summary_of_equal_values_has_no_width() -> None:
    summary = summarize([2.0, 2.0, float("nan")])
    assert (summary.mean, summary.low, summary.high, summary.p99) == (2.0, 2.0, 2.0, 2.0)


def test_traces_are_what_perfetto_reads(tmp_path: Path) -> None:
    write_trace(tmp_path / "trace.json", {"real": [timeline(3, 5, 9)]})
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [(e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert spans == [
        ("queued (step 0)", 0, 1000),
        ("prefill (step 0)", 1000, 2000),
        ("decode (step 0)", 3000, 6000),
    ]
    assert sum(e["ph"] == "i" for e in events) == 3
