"""A latency profile of what was measured, in the project's own format; needs pydantic and scipy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.gpu.alone import WARM_UP_TOKENS, serve
from benchmarks.gpu.lab import Lab, Row
from benchmarks.gpu.moa import AGGREGATOR, PROPOSERS
from executor.batching_engine import BatchingEngine
from executor.measure_latency import Grid, measure_latency
from executor.static_steps import LEAST_WINDOW
from profiles.latency import DecodePoint, EngineProfile, LatencyProfile, fit_engine, save_latency
from profiles.store import provenance_of_now

PROFILE_FILE = "latency.json"
REPEATS = 3


def profile(lab: Lab) -> Iterator[Row]:
    """Prompts and a call alone are measured now, batches were measured as ``decode``."""
    longest = lab.shape.profiled_tokens
    with lab.engines(1, max_num_batched_tokens=longest) as [engine]:
        _warm_up(lab, engine, longest)
        grid = Grid.up_to(longest, REPEATS)
        alone = measure_latency(engine, lab.model.vocabulary_size, grid)
    batches = _batched_points(lab)
    fitted = fit_engine(alone.prefill_points, [*alone.decode_points, *batches], alone.call_s)
    _save(lab, fitted)
    yield {
        "file": PROFILE_FILE,
        "call_s": fitted.call_s,
        "prefill_coefficients": fitted.prefill.coefficients,
        "prefill_error": fitted.prefill.error,
        "decode_coefficients": fitted.decode.coefficients,
        "decode_error": fitted.decode.error,
        "decode_batches": sorted({point.batch for point in fitted.decode_points}),
    }


def _warm_up(lab: Lab, engine: BatchingEngine, longest: int) -> None:
    """Captures every window, the longest first, so that no capture falls into a measurement."""
    windows = [LEAST_WINDOW << n for n in range(16) if LEAST_WINDOW << n <= longest]
    for prompt in [longest, *(window // 2 + 1 for window in reversed(windows))]:
        serve(engine, [lab.prompt(prompt)], WARM_UP_TOKENS)


def _batched_points(lab: Lab) -> list[DecodePoint]:
    variant = "static" if lab.is_static else "eager"
    rows = [row for row in lab.journal.rows("decode") if row["variant"] == variant]
    return [_point(row) for row in rows]


def _point(row: Row) -> DecodePoint:
    gaps_s = np.array(row["gaps_s"])
    middle = float(np.median(gaps_s))
    deviation = float(np.median(np.abs(gaps_s - middle)))
    context = row["batch"] * (row["context_tokens"] + len(gaps_s) // 2)
    mean_ratio = float(gaps_s.mean()) / middle
    return DecodePoint(row["batch"], context, middle, deviation / middle, mean_ratio)


def _save(lab: Lab, fitted: EngineProfile) -> None:
    engines = dict.fromkeys((*PROPOSERS, AGGREGATOR), fitted)
    settings = {"benchmark": "gpu_moa", **lab.journal.rows("machine")[0]}
    content = LatencyProfile(engines, provenance_of_now(settings))
    save_latency(lab.folder / PROFILE_FILE, content)
