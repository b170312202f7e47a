from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from statistics import fmean

import pytest
from typer.testing import CliRunner

from planner.cli.app import app
from staircase.errors import InputError
from staircase.metrics.measured import measure_all
from staircase.metrics.request_metrics import OF_SOME
from staircase.metrics.request_table import write_request_table
from staircase.timeline import PS_PER_S, Span, Timeline

SPAN = Span(0, "a", "a", 0, (), 0, 0, 1, 3, PS_PER_S, 8, 10, 4, 3, "stop")


def timeline(request: int, *answer_s: int) -> Timeline:
    times = tuple(s * PS_PER_S for s in answer_s)
    return Timeline(request, 0, times[-1], (SPAN,), times, {"a": len(times)})


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_for_each_request_of_each_run(tmp_path: Path) -> None:
    runs = [measure_all([timeline(0, 1, 2, 4), timeline(1, 3)]), measure_all([timeline(0, 5, 6)])]
    write_request_table(tmp_path / "requests.csv", runs)
    rows = rows_of(tmp_path / "requests.csv")
    assert [(row["run"], row["ttft_s"], row["e2e_s"]) for row in rows] == [
        ("1", "1", "4"),
        ("1", "3", "3"),
        ("2", "5", "6"),
    ]
    assert [row["tpot_s"] for row in rows] == ["1.5", "", "1"], "one token has no time per token"
    assert not rows[0].keys() & {*OF_SOME}, "metrics that none of them has"


def test_data_frames_read_it(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    measured = measure_all([timeline(0, 1, 2, 4), timeline(1, 3)])
    write_request_table(tmp_path / "requests.csv", [measured])
    frame = pandas.read_csv(tmp_path / "requests.csv")
    for name in frame.columns[1:]:
        for value, there in zip(frame[name], measured.columns[name], strict=True):
            assert value == pytest.approx(there, nan_ok=True)
    assert math.isnan(frame["tpot_s"][1])


def test_nothing_is_left_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_request_table(tmp_path, [measure_all([timeline(0, 1)])])
    assert not list(tmp_path.iterdir())


def test_the_command_s_means_are_the_table_s(tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    words = ["simulate", "examples/two_layers.yaml", "--requests", "9", "--replicates", "2"]
    done = CliRunner().invoke(app, [*words, "--csv", str(path), "--json"])
    assert done.exit_code == 0, done.output
    rows = rows_of(path)
    assert [row["run"] for row in rows] == ["1"] * 9 + ["2"] * 9
    metrics = json.loads(done.stdout)["forecast"]
    for name in ("ttft_s", "smooth_start_s", "e2e_s", "cached_tokens"):
        mean = fmean(float(row[name]) for row in rows)
        assert mean == pytest.approx(metrics[name]["mean"], rel=1e-9)
