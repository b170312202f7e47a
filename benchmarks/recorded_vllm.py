"""Forecasts against recorded vLLM runs, from kernel times and one constant per iteration.

    python -m benchmarks.recorded_vllm DATA [--save FILE]

DATA is a checkout of LLMServingSim's ``profiler/perf`` and ``bench/examples`` folders; every run
there of which the kernel times are there too is played, others are told. Of several devices the
link's speed and latency are those of the run's ``config.json``; what they come to is told by a line
without them, and beside all stands what LLMServingSim itself forecast.
KV blocks are the engine's own where its ``meta.json`` says them, else unlimited. The
constant is fitted to the mean time per output token of the first 100 requests and judged on the
others, then fitted to and judged on all. FILE gets the last run's forecast with the constant of its
first 100 requests, for ``staircase compare``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq

from profiles.hardware.hosts import Host
from profiles.hardware.known_models import known_shape
from profiles.importers.bundles import check_range
from profiles.importers.deployment import Deployment, Link
from profiles.importers.kernels import KernelTables, read_kernel_tables
from simulator.core.cost import cost_of_kernels, with_host
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.run import Run, run_workload
from staircase import RequestShape, Schedule, Workload, single
from staircase.errors import ProfileError
from staircase.prompt import query
from staircase.records import write_records
from staircase.timeline import to_ps

METRICS = ("ttft_s", "tpot_s", "e2e_s")
SUMMARY = ("TTFT Mean", "TPOT Mean", "Latency Mean")


# Devices that tell each other everything at once.
NO_COST = Link(float("inf"), 0.0)


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
class VllmRun:
    """A run and what its engine was.

    Attributes:
        alone: kernels without what devices tell each other; None for one device.
        published: LLMServingSim's own errors of the means, as its ``summary.txt`` has them.
    """

    name: str
    tables: KernelTables
    limits: Limits
    recorded: Recorded
    alone: KernelTables | None = None
    published: Sequence[str] = ()

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
        """The constant that makes the mean time per output token of ``fitted`` requests right.

        None is below 0: where kernels alone take too long, it is 0.
        """
        real = np.nanmean(self.recorded.metrics[fitted, 1])

        def miss(overhead_s: float) -> float:
            return float(np.nanmean(self.forecast(overhead_s)[fitted, 1]) - real)

        return 0.0 if miss(0.0) >= 0 else float(brentq(miss, 0.0, 0.01, xtol=1e-6))


def find_runs(data: Path) -> Iterator[VllmRun]:
    """Runs under ``bench/examples``, with kernel times under ``profiler/perf``."""
    for path in sorted((data / "bench" / "examples").glob("*/*/vllm/requests.jsonl")):
        try:
            yield read_run(data, path)
        except (ProfileError, OSError, ValueError, KeyError) as error:
            print(f"{path}: left out: {error or type(error).__name__}")


def read_run(data: Path, path: Path) -> VllmRun:
    """The run whose requests are in ``path``.

    Raises:
        ProfileError, OSError, ValueError, KeyError: what it needs is missing or not modelled.
    """
    meta = json.loads((path.parent / "meta.json").read_text())
    settings: Mapping[str, Any] = meta["engine_kwargs"]
    model, hardware = str(settings["model"]), path.parents[2].name
    ranks, parallel = settings.get("data_parallel_size", 1), settings["tensor_parallel_size"]
    shape = known_shape(model)
    if shape is None:
        raise ProfileError(f"the shape of {model} is not known")
    deployment = Deployment(
        shape.layers,
        shape,
        parallel,
        ranks,
        ranks * parallel > 1 and settings["enable_expert_parallel"],
        _link(path.parents[1] / "config.json") if ranks * parallel > 1 else None,
    )
    name = f"{hardware}/{model}/bf16/tp{parallel}"
    folder = data / "profiler" / "perf" / name
    tables = read_kernel_tables(folder, deployment)
    limits = _limits(settings, meta.get("kv_cache", {}), ranks)
    check_range(folder, tables, limits.max_num_batched_tokens, limits.max_num_seqs)
    alone = None
    if deployment.devices > 1:
        alone = read_kernel_tables(folder, replace(deployment, link=NO_COST))
    published = _published(path.parents[1] / "validation" / "summary.txt")
    return VllmRun(_named(name, ranks), tables, limits, read_recorded(path), alone, published)


def _published(path: Path) -> list[str]:
    """The last cells of the rows of means; nothing where there is no such file."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = {" ".join(line.split()[:2]): line.split()[-1] for line in lines if line.strip()}
    return [rows[name] for name in SUMMARY if name in rows]


def _named(bundle: str, ranks: int) -> str:
    return bundle if ranks == 1 else f"{bundle} dp{ranks}"


def _link(path: Path) -> Link:
    """Gigabytes a second and nanoseconds there."""
    config = json.loads(path.read_text())
    return Link(config["link_bw"] * 1e9, config["link_latency"] * 1e-9)


def _limits(settings: Mapping[str, Any], kv_cache: Mapping[str, int], ranks: int) -> Limits:
    """Of all ranks together.

    vLLM schedules asynchronously unless told otherwise: the recorded requests are marked as
    scheduled as soon as they are queued, though an iteration is under way.
    """
    blocks = kv_cache.get("num_gpu_blocks")
    return Limits(
        ranks * settings["max_num_batched_tokens"],
        ranks * settings["max_num_seqs"],
        blocks and ranks * blocks,
        kv_cache.get("block_size", 16),
        # Each recorded prompt is one of its own.
        prefix_caching=False,
        async_scheduling=True,
        long_prefill_token_threshold=settings["max_num_batched_tokens"],
    )


def errors(simulated: np.ndarray, real: np.ndarray) -> Sequence[float]:
    """Relative error of the mean of each metric."""
    off = np.nanmean(simulated, axis=0) / np.nanmean(real, axis=0) - 1
    return [float(error) for error in off]


def judge(run: VllmRun) -> tuple[Table, float]:
    """A table of errors, and the constant of the first 100 requests."""
    columns = ("fitted on", "judged on", "overhead ms", *(f"mean {name}" for name in METRICS))
    table = Table(*columns, title=run.name, title_justify="left")
    everything, first, rest = slice(None), slice(100), slice(100, None)
    if run.alone is not None:
        off = errors(replace(run, tables=run.alone).forecast(0.0), run.recorded.metrics)
        table.add_row("no links", "all", "0.00", *(f"{error:+.1%}" for error in off))
    for fitted, judged, names in (
        (None, everything, ("nothing", "all")),
        (everything, everything, ("all", "all")),
        (first, rest, ("first 100", "the others")),
    ):
        overhead_s = 0.0 if fitted is None else run.fit_overhead(fitted)
        off = errors(run.forecast(overhead_s)[judged], run.recorded.metrics[judged])
        table.add_row(*names, f"{overhead_s * 1e3:.2f}", *(f"{error:+.1%}" for error in off))
    if len(run.published) == len(METRICS):
        table.add_row("LLMServingSim", "all", "", *run.published)
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
