"""A latency profile in the project's own format; needs pydantic and scipy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from benchmarks.gpu.alone import WARM_UP_TOKENS
from benchmarks.gpu.harness import Harness, Row, Stopwatch
from benchmarks.gpu.moa import AGGREGATOR, PROPOSERS
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.static_steps import LEAST_WINDOW
from executor.measure.call_recorder import serve
from executor.measure.measure_latency import MeasuringEffort, measure_latency
from executor.measure.measurements import Sample, Target
from profiles.latency.profile import EngineProfile, LatencyProfile, save_latency
from profiles.store import provenance_of_now

PROFILE_FILE = "latency.json"
# What the part may take of the benchmark.
PROFILE_S = 25.0


def profile(harness: Harness) -> Iterator[Row]:
    fitted = measure(harness, MeasuringEffort(PROFILE_S))
    engines = dict.fromkeys((*PROPOSERS, AGGREGATOR), fitted)
    settings = {"benchmark": "gpu_moa", **harness.journal.rows("machine")[0]}
    save_latency(
        harness.folder / PROFILE_FILE, LatencyProfile(engines, provenance_of_now(settings))
    )
    yield {
        "file": PROFILE_FILE,
        "call_s": fitted.call_s,
        "prefill_coefficients": fitted.prefill.coefficients,
        "prefill_error": fitted.prefill.error,
        "decode_coefficients": fitted.decode.coefficients,
        "decode_error": fitted.decode.error,
        "decode_batches": sorted({point.batch for point in fitted.decode_points}),
    }


def measure(
    harness: Harness,
    effort: MeasuringEffort,
    known: Sequence[Sample] = (),
    on_sample: Callable[[Sample], None] = lambda sample: None,
) -> EngineProfile:
    """Of an engine with as many slots as the shape's largest batch, all in the effort's time."""
    clock = Stopwatch()
    longest, slots = harness.shape.profiled_tokens, max(harness.shape.batches)
    with harness.engines(slots, max_num_batched_tokens=longest + slots) as [engine]:
        if harness.is_static:
            _capture(harness, engine, longest, slots)
        target = Target(engine, harness.prompt, longest, slots, mixed_tokens=longest)
        left = replace(effort, budget_s=effort.budget_s - clock.now_s)
        return measure_latency(target, left, known, on_sample)


def _capture(harness: Harness, engine: BatchingEngine, longest: int, slots: int) -> None:
    """Captures every window, the longest first, so that no capture falls into a measurement.

    Calls one by one go to one slot after the other, and with it to every number of rows.
    """
    windows = [LEAST_WINDOW << n for n in range(16) if LEAST_WINDOW << n < longest]
    for tokens in [longest, *(window // 2 + 1 for window in reversed(windows))]:
        prompts = [harness.prompt(tokens) for _ in range(slots)]
        serve(engine, prompts, WARM_UP_TOKENS)
        for prompt in prompts:
            serve(engine, [prompt], WARM_UP_TOKENS)
