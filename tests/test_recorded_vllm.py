"""The recorded vLLM run, where the public measurements lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.recorded_vllm import errors, fit_overhead, forecast, read_recorded
from profiles.kernels import read_kernel_tables

DATA = Path(__file__).parents[2] / "shared" / "data" / "llmservingsim"
BUNDLE = DATA / "profiler/perf/RTXPRO6000/meta-llama/Llama-3.1-8B/bf16/tp1"
RUN = DATA / "bench/examples/RTXPRO6000/Llama-3.1-8B/vllm/requests.jsonl"


@pytest.mark.slow
@pytest.mark.skipif(not RUN.is_file(), reason="public measurements are not beside the checkout")
def test_one_constant_fitted_on_the_first_hundred_holds_for_the_others() -> None:
    tables, recorded = read_kernel_tables(BUNDLE, layers=32), read_recorded(RUN)
    overhead_s = fit_overhead(tables, recorded, slice(100))
    simulated = forecast(tables, recorded.workload, overhead_s)
    ttft, tpot, latency = errors(simulated[100:], recorded.metrics[100:])
    assert abs(ttft) < 0.05
    assert abs(tpot) < 0.02
    assert abs(latency) < 0.02
