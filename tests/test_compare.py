"""Records in three formats, and what is said of two of them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from planner.evaluation.compare import bias, compare, ks_distance, mape, pearson
from planner.tables.compare_table import comparison_table, describe_bias, describe_pairs
from staircase.errors import RecordError
from staircase.files import without_nan
from staircase.metrics.request_metrics import measure
from staircase.records import Record, read_records, record, write_records
from staircase.timeline import Span, Timeline
from tests.support.pipes import piped

MS = 10**9


def timeline(number: int, arrival_ms: int, answer_ms: Sequence[int]) -> Timeline:
    """Arrives at ``arrival_ms``; the answer's tokens come at ``answer_ms`` after that."""
    arrival = arrival_ms * MS
    span = Span(0, "a", "a", 0, (), 0, arrival, arrival, None, arrival, 0, 10, 4, 3, "stop")
    answer = tuple(arrival + ms * MS for ms in answer_ms)
    return Timeline(number, arrival, max(answer, default=arrival), (span,), answer, {})


def records(*answers_ms: Sequence[int]) -> list[Record]:
    return [record(timeline(n, 10 * n, answer)) for n, answer in enumerate(answers_ms)]


def write(path: Path, *contents: object) -> Path:
    path.write_text("\n".join(json.dumps(content) for content in contents))
    return path


def test_errors_by_hand() -> None:
    forecast, measured = np.array([1.0, 3.0, 5.0]), np.array([2.0, 4.0, 4.0])
    assert bias(forecast, measured) == pytest.approx(9 / 10 - 1)
    assert mape(forecast, measured) == pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3)
    # Deviations (−2, 0, 2) and (−4/3, 2/3, 2/3): 4 / √(8 · 8/3).
    assert pearson(forecast, measured) == pytest.approx(4 / math.sqrt(8 * 8 / 3))
    # Up to 1: a third of the forecast, nothing of the measurement.
    assert ks_distance(forecast, measured) == pytest.approx(1 / 3)


def test_undefined_figures_are_nan() -> None:
    some, zeros = np.array([1.0, 2.0]), np.zeros(2)
    assert math.isnan(bias(some, zeros))
    assert math.isnan(mape(some, np.array([0.0, 1.0])))
    assert math.isnan(pearson(some, zeros))
    assert math.isnan(pearson(some[:1], some[:1]))
    assert math.isnan(mape(some[:0], some[:0]))


def test_two_records_by_hand() -> None:
    found = compare(records([10, 20, 30], [30, 40]), records([20, 40, 60], [30, 50]))
    assert (found.pairs, found.unlike_pairs) == (2, 0)
    ttft = found.metrics["ttft_s"]
    assert ttft.forecast.mean == pytest.approx(0.02)
    assert ttft.measured.mean == pytest.approx(0.025)
    assert ttft.bias == pytest.approx(-0.2)
    assert ttft.mape == pytest.approx(0.25)
    assert ttft.pearson == pytest.approx(1)
    itl = found.metrics["itl_s"]
    assert itl.bias == pytest.approx(-0.5)
    assert itl.ks == 1
    assert math.isnan(itl.mape)
    assert math.isnan(found.metrics["stall_s"].mape), "nobody waited"


def test_other_numbers_of_requests_are_not_paired() -> None:
    found = compare(records([10, 20], [30, 40]), records([20, 40]))
    ttft = found.metrics["ttft_s"]
    assert found.pairs == 0
    assert ttft.bias == pytest.approx(0)
    assert math.isnan(ttft.mape)
    assert math.isnan(ttft.pearson)
    assert "2 requests in the forecast, 1 in the measurement: not paired" in describe_pairs(found)


def test_failed_requests_and_unlike_answers_are_told() -> None:
    failed = timeline(1, 0, [])
    other = [record(timeline(0, 0, [20, 40])), record(Timeline(**{**vars(failed), "error": "x"}))]
    found = compare(records([10, 20, 30], [30, 40]), other)
    assert found.metrics["ttft_s"].mape == pytest.approx(0.5)
    words = "2 requests, 1 answered in both; answers differ in length in 1: the same requests?"
    assert describe_pairs(found) == words


def test_the_table_prints_dashes_for_what_is_undefined() -> None:
    screen = Console(width=120, file=io.StringIO(), record=True)
    screen.print(comparison_table(compare(records([10, 20]), records([20, 40]))))
    text = screen.export_text()
    lines = {line.split("│")[1].strip(): line for line in text.splitlines() if line[0] == "│"}
    cells = [cell.strip() for cell in lines["TTFT ms"].split("│")[3:-1]]
    assert cells == ["10.0", "10.0", "10.0", "10.0", "50.0 % too low", "50.0 %", "–", "1.000"]
    assert "nan" not in text
    assert describe_bias(0.031) == "3.1 % too high"
    assert describe_bias(0.0001) == "less than 0.1 % off"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    lines = [timeline(0, 0, [5, 9, 20]), timeline(1, 7, [4])]
    write_records(tmp_path / "record.jsonl", lines)
    first, second = read_records(tmp_path / "record.jsonl")
    assert without_nan(asdict(first)) == without_nan(asdict(record(lines[0])))
    assert (second.arrival_s, second.token_s) == (0.007, (0.004,))
    assert math.isnan(second.tpot_s)
    assert "NaN" not in (tmp_path / "record.jsonl").read_text()


def test_stall_is_of_one_reading_rate(tmp_path: Path) -> None:
    write_records(tmp_path / "record.jsonl", [timeline(0, 0, [0, 1000])], reading_rate=2)
    (row,) = read_records(tmp_path / "record.jsonl")
    assert row.stall_s == pytest.approx(0.5)
    found = compare([row], records([0, 1000]), reading_rate=4)
    assert found.metrics["stall_s"].forecast.mean == pytest.approx(0.75)
    assert found.metrics["stall_s"].measured.mean == pytest.approx(0.75)


VLLM = {
    "ttfts": [0.5, 0.0, 0.25],
    "itls": [[0.1, 0.3], [], [0.5]],
    "output_lens": [3, 0, 5],
    "start_times": [107.0, 0.0, 109.0],
    "errors": ["", "refused", ""],
    "input_lens": [7, 7, 7],
    "request_throughput": 1.0,
}


@pytest.mark.parametrize("indent", [None, 1])
def test_what_vllm_saves_is_read(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(VLLM, indent=indent))
    first, failed, last = read_records(path)
    assert first.token_s == pytest.approx((0.5, 0.6, 0.9))
    assert first.e2e_s == pytest.approx(0.9)
    assert first.tpot_s == pytest.approx(0.2)
    assert failed.error == "refused"
    assert last.arrival_s == 2
    assert last.tpot_s == pytest.approx(0.5 / 4), "two pieces hold five tokens"
    metrics = compare([last], [last]).metrics
    assert metrics["itl_s"].measured.mean == pytest.approx(0.5)
    assert "stall_s" not in metrics


def test_vllm_without_start_times_is_read(tmp_path: Path) -> None:
    without = {key: value for key, value in VLLM.items() if key != "start_times"}
    assert math.isnan(read_records(write(tmp_path / "run.json", without))[0].arrival_s)


def test_what_llmservingsim_records_is_read(tmp_path: Path) -> None:
    later = {"queued_ts": 9, "first_token_ts": 10, "last_token_ts": 10, "output_toks": 1}
    early = {"queued_ts": 5, "first_token_ts": 6, "last_token_ts": 10, "output_toks": 5}
    lines = [later, early | {"scheduled_ts": 5.5, "input_toks": 3}]
    first, second = read_records(write(tmp_path / "requests.jsonl", *lines))
    assert (first.ttft_s, first.tpot_s, first.e2e_s, first.queued_s) == (1, 1, 5, 0.5)
    assert second.arrival_s == 4
    assert math.isnan(second.tpot_s)
    assert compare([first], [first]).metrics.keys() == {"ttft_s", "tpot_s", "e2e_s"}


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "record.jsonl", *(asdict(row) for row in records([5, 9], [6], [7])))
    with piped(path.read_text()) as pipe:
        assert read_records(pipe) == read_records(path)


def test_a_line_that_is_no_json_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    path.write_text('{"ttft_s": 1}\n{"ttft')
    with pytest.raises(RecordError, match=f"^{path}, line 2: not JSON"):
        read_records(path)


def test_a_record_is_what_was_measured() -> None:
    line = timeline(3, 8, [5, 9])
    row, metrics = record(line), measure(line)
    found = {name: getattr(row, name) for name in vars(metrics)}
    assert found == pytest.approx(vars(metrics), rel=0, abs=0, nan_ok=True)
