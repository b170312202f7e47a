"""Forecasts against recorded vLLM runs, from kernel times and one constant per iteration.

    python -m benchmarks.recorded_vllm DATA [--save FILE]

DATA is a checkout of LLMServingSim's ``profiler/perf`` and ``bench/examples`` folders; every run
there of which the kernel times are there too is played. The constant is fitted to the mean time per
output token of the first 100 requests and judged on the others, then fitted to and judged on all.
FILE gets the last run's forecast with the constant of its first 100 requests, for ``staircase
compare``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq

from profiles.hardware.hosts import Host
from profiles.importers.kernels import KernelTables, read_kernel_tables
from simulator.core.cost import cost_of_kernels, with_host
from simulator.des.batching import BatchingSetup, Limits
from simulator.run import Run, run_workload
from staircase import RequestShape, Schedule, Workload, single
from staircase.prompt import query
from staircase.records import write_records
from staircase.timeline import to_ps

# Layers of the models that were recorded, from their public configurations.
LAYERS = {"Llama-3.1-8B": 32, "Llama-3.1-70B": 80, "Qwen3-8B": 36, "Qwen3-32B": 64}
METRICS = ("ttft_s", "tpot_s", "e2e_s")


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


@dataclass(frozen=True)
class RecordedRun:
    """A run and what its engine was."""

    name: str
    tables: KernelTables
    limits: Limits
    recorded: Recorded

    def play(self, overhead_s: float, needs_timelines: bool = False) -> Run:
        limits = self.limits
        kernels = cost_of_kernels(self.tables, limits.max_num_batched_tokens, limits.max_num_seqs)
        cost = with_host(kernels, Host("fitted", overhead_s, 0.0, ""))
        workload, pipeline = self.recorded.workload, single()
        longest = max(shape.output_tokens["model"] for shape in workload.requests)
        agents = tuple(replace(agent, max_tokens=longest) for agent in pipeline)
        return run_workload(
            replace(pipeline, agents=agents),
            Schedule(),
            {"model": BatchingSetup(cost, limits)},
            workload,
            needs_timelines=needs_timelines,
        )

    def forecast(self, overhead_s: float) -> np.ndarray:
        """By request and metric."""
        columns = self.play(overhead_s).measured.columns
        return np.array([columns[name] for name in METRICS]).T

    def fit_overhead(self, fitted: slice) -> float:
        """The constant that makes the mean time per output token of ``fitted`` requests right."""
        real = np.nanmean(self.recorded.metrics[fitted, 1])

        def miss(overhead_s: float) -> float:
            return float(np.nanmean(self.forecast(overhead_s)[fitted, 1]) - real)

        return float(brentq(miss, 0.0, 0.01, xtol=1e-6))


def find_runs(data: Path) -> Iterator[RecordedRun]:
    """Runs under ``bench/examples``, with kernel times under ``profiler/perf``."""
    for path in sorted((data / "bench" / "examples").glob("*/*/vllm/requests.jsonl")):
        meta = json.loads((path.parent / "meta.json").read_text())
        settings = meta["engine_kwargs"]
        model, hardware = str(settings["model"]), path.parents[2].name
        bundle = f"{hardware}/{model}/bf16/tp{settings['tensor_parallel_size']}"
        layers = LAYERS.get(model.rpartition("/")[2])
        folder = data / "profiler" / "perf" / bundle
        if layers is None or not folder.is_dir():
            print(f"{path}: left out, needs {folder} and the model's layers in LAYERS")
            continue
        if settings["tensor_parallel_size"] > 1:
            print(f"{path}: left out, its kernels do not hold what several GPUs tell each other")
            continue
        # vLLM schedules asynchronously unless told otherwise: the recorded requests are marked as
        # scheduled as soon as they are queued, though an iteration is under way.
        limits = Limits(
            settings["max_num_batched_tokens"], settings["max_num_seqs"], async_scheduling=True
        )
        tables = read_kernel_tables(folder, layers)
        yield RecordedRun(bundle, tables, limits, read_recorded(path))


def errors(simulated: np.ndarray, real: np.ndarray) -> Sequence[float]:
    """Relative error of the mean of each metric."""
    off = np.nanmean(simulated, axis=0) / np.nanmean(real, axis=0) - 1
    return [float(error) for error in off]


def judge(run: RecordedRun) -> tuple[Table, float]:
    """A table of errors, and the constant of the first 100 requests."""
    columns = ("fitted on", "judged on", "overhead ms", *(f"mean {name}" for name in METRICS))
    table = Table(*columns, title=run.name, title_justify="left")
    everything, first, rest = slice(None), slice(100), slice(100, None)
    for fitted, judged, names in (
        (None, everything, ("nothing", "all")),
        (everything, everything, ("all", "all")),
        (first, rest, ("first 100", "the others")),
    ):
        overhead_s = 0.0 if fitted is None else run.fit_overhead(fitted)
        off = errors(run.forecast(overhead_s)[judged], run.recorded.metrics[judged])
        table.add_row(*names, f"{overhead_s * 1e3:.2f}", *(f"{error:+.1%}" for error in off))
    return table, overhead_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--save", type=Path, metavar="FILE")
    words = parser.parse_args()
    for run in find_runs(words.data):
        table, overhead_s = judge(run)
        Console().print(table)
        if words.save:
            write_records(words.save, run.play(overhead_s, needs_timelines=True).timelines)


if __name__ == "__main__":
    main()
