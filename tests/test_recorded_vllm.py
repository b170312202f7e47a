"""The recorded vLLM run, where the public measurements lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.recorded_vllm import errors, find_runs

DATA = Path(__file__).parents[2] / "shared" / "data" / "llmservingsim"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="public measurements are not beside the checkout")
def test_one_constant_fitted_on_the_first_hundred_holds_for_the_others() -> None:
    for run in find_runs(DATA):
        simulated = run.forecast(run.fit_overhead(slice(100)))
        ttft, tpot, latency = errors(simulated[100:], run.recorded.metrics[100:])
        assert abs(ttft) < 0.05
        assert abs(tpot) < 0.02
        assert abs(latency) < 0.02
