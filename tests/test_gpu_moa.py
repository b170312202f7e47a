"""``benchmarks.gpu_moa`` on a tiny shape and a CPU: everything that a GPU would be asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.harness import Journal
from benchmarks.gpu.moa import LAYOUTS, medians
from benchmarks.gpu.shape import SHAPES
from profiles.latency.profile import load_latency

ROOT = Path(__file__).parents[1]
TINY = SHAPES["tiny"]
VARIANTS = 1 + len(TINY.staircases) * len(LAYOUTS)


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_moa", "--shape", "tiny", "--out", str(folder)]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)


def content(folder: Path) -> Any:
    return json.loads((folder / "gpu_moa.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu_moa")
    done = run(folder, "--device", "cpu", "--requests", "2", "--seconds", "1000")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
class TestOnACPU:
    def test_every_part_is_there(self, folder: Path) -> None:
        found = content(folder)
        assert found["skipped"] == {}
        [machine] = found["machine"]
        assert machine["weight_bytes"] > 4 * TINY.config["hidden_size"] * TINY.config["vocab_size"]
        assert machine["kv_bytes_per_token"] == 2 * 2 * 2 * 16 * 4
        assert machine["bytes_per_s"] > 1e8
        assert len(found["decode"]) == 2 * len(TINY.batches) * len(TINY.contexts)
        assert [row["prompt_tokens"] for row in found["prefill"]] == list(TINY.prompts)
        assert len(found["forecast"]) == 2 * VARIANTS

    def test_gaps_are_those_of_calls_that_decode_together(self, folder: Path) -> None:
        for row in content(folder)["decode"]:
            assert TINY.decoded_tokens / 2 < len(row["gaps_s"]) < TINY.decoded_tokens
            assert all(0 < gap < 1 for gap in row["gaps_s"])
            assert row["graphs"] == 0

    def test_answers_are_complete(self, folder: Path) -> None:
        for deployment in ("apart", "together"):
            rows = content(folder)[deployment]
            assert len(rows) == 2 * VARIANTS
            for row in rows:
                assert set(row["written"].values()) == {TINY.written_tokens}
                assert row["answer_s"] == sorted(row["answer_s"])
                assert len(row["answer_s"]) == TINY.written_tokens
                assert 0 < row["ttft_s"] <= row["e2e_s"]
                assert {span["agent"] for span in row["spans"]} == set(row["written"])

    def test_who_reads_less_writes_earlier(self, folder: Path) -> None:
        found = medians(content(folder)["apart"])
        assert all(row["requests"] == 2 for row in found.values())
        ttft_s = {key[1:]: row["ttft_s"] for key, row in found.items()}
        normal_s = ttft_s.pop(("normal", "append_rounds"))
        assert all(seconds < normal_s for seconds in ttft_s.values())

    def test_static_steps_change_nothing_in_float32(self, folder: Path) -> None:
        for row in content(folder)["equality"]:
            assert row["equal_tokens"] == row["tokens"]
            assert row["equal_until"] == [TINY.compared_tokens] * row["calls"]

    def test_the_profile_knows_batches(self, folder: Path) -> None:
        profile = load_latency(folder / "latency.json")["editor"]
        assert {point.batch for point in profile.decode_points} == set(TINY.batches)

    def test_a_folder_that_came_home_is_forecast_there(self, folder: Path) -> None:
        before = content(folder)
        done = run(folder, "--device", "cuda", "--parts", "forecast")
        assert done.returncode == 0, done.stderr
        assert content(folder) == before


@pytest.mark.slow
def test_without_time_and_without_gpu_it_says_so(tmp_path: Path) -> None:
    done = run(tmp_path / "late", "--device", "cpu", "--seconds", "0.001")
    assert done.returncode == 1
    assert content(tmp_path / "late")["skipped"] == {"machine": "no time was left"}
    done = run(tmp_path / "none", "--device", "meter")
    assert done.returncode == 1
    assert "ModelError" in content(tmp_path / "none")["skipped"]["machine"]


def test_a_record_is_continued_only_by_its_own_shape(tmp_path: Path) -> None:
    Journal(tmp_path / "it.json", "tiny").put("decode", [{"batch": 1}])
    assert Journal(tmp_path / "it.json", "tiny").rows("decode") == [{"batch": 1}]
    with pytest.raises(SystemExit, match="another shape"):
        Journal(tmp_path / "it.json", "8b")
