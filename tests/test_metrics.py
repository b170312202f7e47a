from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from staircase.errors import SloError
from staircase.metrics.measured import measure_all
from staircase.metrics.request_metrics import measure, summarize, summarize_pooled
from staircase.metrics.run_metrics import Slo, measure_run, parse_slo
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
    assert math.isnan(measure_all([timeline()]).summaries()["ttft_s"].mean)


def slow_stall(times: list[float], rate: float) -> float:
    """The reader, token by token."""
    clock, waited = times[0], 0.0
    for time in times[1:]:
        clock += 1 / rate
        waited += max(0.0, time - clock)
        clock = max(clock, time)
    return waited


@given(st.lists(st.integers(0, 9000), min_size=1, max_size=30).map(sorted), st.floats(0.5, 50))
def test_stall_is_what_a_reader_waits(times_ms: list[int], rate: float) -> None:
    found = measure(timeline(*times_ms), rate)
    assert found.stall_s == pytest.approx(
        slow_stall([ms / 1000 for ms in times_ms], rate), abs=1e-9
    )
    assert found.smooth_start_s == pytest.approx(found.ttft_s + found.stall_s, abs=1e-12)


def test_the_longest_gap_is_between_two_tokens() -> None:
    assert measure(timeline(3, 5, 9)).longest_gap_s == pytest.approx(0.004)
    assert math.isnan(measure(timeline(3)).longest_gap_s)


def test_one_request_has_no_interval() -> None:
    summary = summarize([2.0])
    assert summary.mean == 2
    assert math.isnan(summary.low)
    assert math.isnan(summary.high)


def test_summary_of_equal_values_has_no_width() -> None:
    summary = summarize([2.0, 2.0, float("nan")])
    assert (summary.mean, summary.low, summary.high, summary.p99) == (2.0, 2.0, 2.0, 2.0)


def test_itl_pools_the_gaps_of_all_requests() -> None:
    itl = measure_all([timeline(3, 5, 9), timeline(3, 4), timeline(3), timeline()]).summaries()[
        "itl_s"
    ]
    assert itl.mean == pytest.approx((0.002 + 0.004 + 0.001) / 3)
    assert itl.p50 == pytest.approx(0.002)
    assert math.isnan(measure_all([timeline(3)]).summaries()["itl_s"].mean)


def test_the_interval_of_a_pool_draws_whole_groups() -> None:
    fast, slow = np.full(1000, 1.0), np.full(1000, 3.0)
    pooled = summarize_pooled([fast, slow] * 4)
    assert pooled.mean == pytest.approx(2)
    assert pooled.high - pooled.low > 0.5, "eight requests say little, however many gaps they have"
    assert summarize(np.concatenate([fast, slow] * 4).tolist()).high - pooled.mean < 0.05


def test_run_metrics_by_hand() -> None:
    failed = replace(timeline(), error="no engine", arrival_ps=2 * MS)
    late = replace(timeline(8, 13), arrival_ps=3 * MS, completed_ps=13 * MS)
    lines = [timeline(3, 5, 9), timeline(4), late, failed]
    run = measure_run(measure_all(lines), parse_slo(["tpot:4"]))
    assert (run.requests, run.completed) == (4, 3)
    assert run.duration_s == pytest.approx(0.013)
    assert run.requests_per_s == pytest.approx(3 / 0.013)
    assert run.answer_tokens_per_s == pytest.approx(6 / 0.013)
    assert run.goodput_per_s == pytest.approx(2 / 0.013), "one token has no TPOT to miss"
    assert run.good_share == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    ("slo", "is_met"),
    [
        (Slo(), True),
        (Slo(ttft_s=0.003, tpot_s=0.003, e2e_s=0.009), True),
        (Slo(ttft_s=0.002), False),
        (Slo(e2e_s=0.008), False),
    ],
)
def test_a_limit_is_met_up_to_its_value(slo: Slo, is_met: bool) -> None:
    assert slo.met_by(measure_all([timeline(3, 5, 9)])).tolist() == [is_met]


def test_an_empty_answer_keeps_no_limit_of_its_first_token() -> None:
    assert not Slo(ttft_s=1).met_by(measure_all([timeline()])).any()


def test_slo_is_parsed_as_vllm_does() -> None:
    assert parse_slo(["ttft:500", "tpot:50", "e2el:5000"]) == Slo(0.5, 0.05, 5)
    assert parse_slo(["e2e:5e3"]) == Slo(e2e_s=5)


@pytest.mark.parametrize(
    "words", [["itl:3"], ["ttft"], ["ttft:"], ["ttft:-1"], ["tpot:nan"], ["e2e:1", "e2el:2"]]
)
def test_wrong_slo_is_told(words: list[str]) -> None:
    with pytest.raises(SloError, match=f"SLO '{words[-1]}'"):
        parse_slo(words)


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
