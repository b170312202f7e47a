"""A forecast against a recorded vLLM run, from kernel times and one constant per iteration.

    python -m benchmarks.recorded_vllm DATA [--save FILE]

DATA is a checkout of LLMServingSim's ``profiler/perf`` and ``bench/examples`` folders. The constant
is fitted to the mean time per output token of the first 100 requests and judged on the others, then
fitted to and judged on all. FILE gets the forecast with the constant of the first 100 requests, for
``staircase compare``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq

from profiles.kernels import KernelTables, read_kernel_tables
from simulator.batching import BatchingSetup, Limits
from simulator.cost import cost_of_kernels
from simulator.simulate import simulate
from staircase import RequestShape, Schedule, Workload, single
from staircase.metrics import measure
from staircase.prompt import query
from staircase.records import write_records
from staircase.timeline import Timeline, to_ps

LIMITS = Limits(max_num_batched_tokens=2048, max_num_seqs=128)
LAYERS = 32
METRICS = ("TTFT", "TPOT", "latency")


@dataclass(frozen=True)
class Recorded:
    """What vLLM did: lengths, arrivals in seconds, and (TTFT, TPOT, latency) of each request."""

    workload: Workload
    metrics: np.ndarray


def read_recorded(path: Path) -> Recorded:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows.sort(key=lambda row: row["queued_ts"])
    begun = rows[0]["queued_ts"]
    shapes = [
        RequestShape({query("model"): row["input_toks"]}, {"model": row["output_toks"]}, "length")
        for row in rows
    ]
    arrivals = [to_ps(row["queued_ts"] - begun) for row in rows]
    metrics = [
        (
            row["first_token_ts"] - row["queued_ts"],
            (row["last_token_ts"] - row["first_token_ts"]) / max(1, row["output_toks"] - 1),
            row["last_token_ts"] - row["queued_ts"],
        )
        for row in rows
    ]
    return Recorded(Workload(shapes, arrivals_ps=arrivals), np.array(metrics))


def play(tables: KernelTables, workload: Workload, overhead_s: float) -> Sequence[Timeline]:
    cost = cost_of_kernels(tables, overhead_s, LIMITS.max_num_batched_tokens, LIMITS.max_num_seqs)
    pipeline = single()
    longest = max(shape.output_tokens["model"] for shape in workload.requests)
    agents = tuple(type(a)(a.name, max_tokens=longest) for a in pipeline)
    return simulate(
        type(pipeline)(agents, pipeline.answer),
        Schedule(),
        {"model": BatchingSetup(cost, LIMITS)},
        workload,
    )


def forecast(tables: KernelTables, workload: Workload, overhead_s: float) -> np.ndarray:
    rows = [measure(line) for line in play(tables, workload, overhead_s)]
    return np.array([(row.ttft_s, row.tpot_s, row.e2e_s) for row in rows])


def fit_overhead(tables: KernelTables, recorded: Recorded, fitted: slice) -> float:
    """The constant that makes the mean time per output token of the ``fitted`` requests right."""

    def miss(overhead_s: float) -> float:
        means = np.nanmean(forecast(tables, recorded.workload, overhead_s)[fitted], axis=0)
        return float(means[1] - np.nanmean(recorded.metrics[fitted, 1]))

    return float(brentq(miss, 0.0, 0.01, xtol=1e-6))


def errors(simulated: np.ndarray, real: np.ndarray) -> Sequence[float]:
    """Relative error of the mean of each metric."""
    off = np.nanmean(simulated, axis=0) / np.nanmean(real, axis=0) - 1
    return [float(error) for error in off]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--save", type=Path, metavar="FILE")
    words = parser.parse_args()
    data: Path = words.data
    run = "RTXPRO6000/Llama-3.1-8B/vllm/requests.jsonl"
    bundle = "RTXPRO6000/meta-llama/Llama-3.1-8B/bf16/tp1"
    tables = read_kernel_tables(data / "profiler" / "perf" / bundle, LAYERS)
    recorded = read_recorded(data / "bench" / "examples" / run)
    table = Table("fitted on", "judged on", "overhead ms", *(f"mean {m}" for m in METRICS))
    everything, first, rest = slice(None), slice(100), slice(100, None)
    for fitted, judged, names in (
        (None, everything, ("nothing", "all")),
        (everything, everything, ("all", "all")),
        (first, rest, ("first 100", "the others")),
    ):
        overhead = 0.0 if fitted is None else fit_overhead(tables, recorded, fitted)
        simulated = forecast(tables, recorded.workload, overhead)
        off = errors(simulated[judged], recorded.metrics[judged])
        table.add_row(*names, f"{overhead * 1e3:.2f}", *(f"{error:+.1%}" for error in off))
    Console().print(table)
    if words.save:
        # With the last row's constant.
        write_records(words.save, play(tables, recorded.workload, overhead))


if __name__ == "__main__":
    main()
