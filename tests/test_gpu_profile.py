"""``benchmarks.gpu_profile`` on a CPU and a small shape."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.shape import SHAPES
from benchmarks.gpu_profile import ON_A_GPU, PROFILED
from profiles.latency.profile import load_latency

ROOT = Path(__file__).parents[1]
TINY = SHAPES["tiny"]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_profile", "--out", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_a_profile_for_each_shape(tmp_path: Path) -> None:
    done = run(tmp_path, "--shapes", "tiny", "--device", "cpu", "--seconds", "6")
    assert done.returncode == 0, done.stderr + done.stdout
    [path] = [path for path in tmp_path.iterdir() if path.name.endswith("-tiny.json")]
    profile = load_latency(path)
    assert profile.provenance.settings["shape"] == "tiny"
    found = profile["tiny"]
    assert {point.batch for point in found.decode_points} >= set(TINY.batches)
    assert max(point.new_tokens for point in found.prefill_points) == TINY.profiled_tokens
    assert found.mixed_decode is not None
    assert found.cache is not None
    assert found.cache.block_tokens == 1
    [row] = json.loads((tmp_path / "gpu_profile.json").read_text())["tiny"]
    assert row["took_s"] > 0
    assert not (tmp_path / "partial.jsonl").exists()
    assert "tiny" in done.stdout


@pytest.mark.slow
def test_a_shape_that_fails_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, "--shapes", "tiny", "1b", "--device", "meter", "--seconds", "6")
    assert done.returncode == 1
    assert "tiny: left out" in done.stdout
    assert "1b: left out" in done.stdout


def test_shapes_have_their_sizes() -> None:
    """Weights in billions, from the shape: what the names say."""
    for name, billions in zip(ON_A_GPU, (1.24, 8.03, 14.8, 32.8), strict=True):
        config = PROFILED[name].config
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        heads = config["num_attention_heads"] + config["num_key_value_heads"]
        attention = 2 * hidden * config["head_dim"] * heads
        layers = config["num_hidden_layers"] * (attention + 3 * hidden * inner)
        tables = (1 if name == "1b" else 2) * config["vocab_size"] * hidden
        assert (layers + tables) / 1e9 == pytest.approx(billions, rel=0.01)
