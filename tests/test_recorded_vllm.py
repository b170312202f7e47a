"""The recorded vLLM run, where the public measurements lie beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.recorded_vllm import errors, find_runs

DATA = Path(__file__).parents[2] / "shared" / "data" / "llmservingsim"


@pytest.mark.skipif(not DATA.is_dir(), reason="public measurements are not beside the checkout")
def test_two_devices_with_nothing_fitted() -> None:
    (run,) = (run for run in find_runs(DATA) if run.name.endswith("Qwen3-32B/bf16/tp2"))
    ttft, tpot, latency = errors(run.forecast(0.0), run.recorded.metrics)
    assert abs(ttft) < 0.05
    assert abs(tpot) < 0.03
    assert abs(latency) < 0.03


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("meta.json", "{", "left out: Expecting property name"),
        ("meta.json", {"engine_kwargs": {"model": "a/b", "tensor_parallel_size": 1}}, "of a/b is"),
        ("config.json", {"link_bw": 16}, "'link_latency'"),
    ],
)
def test_runs_that_cannot_be_played_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: object, said: str
) -> None:
    folder = tmp_path / "bench" / "examples" / "GPU" / "M" / "vllm"
    folder.mkdir(parents=True)
    settings = {"model": "Qwen/Qwen3-32B", "tensor_parallel_size": 2}
    meta = {"engine_kwargs": settings | {"enable_expert_parallel": False}}
    (folder / "requests.jsonl").write_text("")
    (folder / "meta.json").write_text(json.dumps(meta))
    changed = folder.parent / name if name == "config.json" else folder / name
    changed.write_text(content if isinstance(content, str) else json.dumps(content))
    assert list(find_runs(tmp_path)) == []
    assert said in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="public measurements are not beside the checkout")
def test_one_constant_fitted_on_the_first_hundred_holds_for_the_others() -> None:
    for run in find_runs(DATA):
        simulated = run.forecast(run.fit_overhead(slice(100)))
        ttft, tpot, latency = errors(simulated[100:], run.recorded.metrics[100:])
        assert abs(ttft) < 0.05
        assert abs(tpot) < 0.02
        assert abs(latency) < 0.02
