"""How fast the simulator is: ratios measured in one run.

    python -m benchmarks.simulator_speed [--requests 1000] [--sigma 0.6]

Mixture-of-Agents requests (3 proposers on one engine, the aggregator on another, 512 prompt and 512
written tokens on average, lognormal with ``sigma``, Poisson arrivals at 70 % of what the engines
can do), played three ways: token by token, by the compiled core on SimPy, and as compiled tables.
With ``sigma`` 0 all requests are alike and share one table. Then deeper pipelines, on SimPy and as
tables; long prompts that are read in many steps, with and without a prefix cache; plain requests of
512/128 tokens at 8 a second on one replica; and how time and memory grow with the number of
requests.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from simulator.compiled.play import play_compiled
from simulator.compiled.results import PlayedTables
from simulator.core.cost import Cost
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.simulate import simulate
from simulator.engine import EngineSetup
from staircase import (
    Pipeline,
    RequestShape,
    Schedule,
    Workload,
    constant,
    debate,
    moa,
    normal,
    single,
    uniform,
)
from staircase.prompt import query
from staircase.timeline import PS_PER_S, to_ps
from tests.support.oracle import OracleSetup

T = TypeVar("T")
TOKENS = 512
LOAD = 0.7
SIZES = (100, 1_000, 10_000, 100_000)
LIMITS = Limits(2048, 256)


def example_cost() -> Cost:
    """An 8B model on a large GPU, roughly: 7 ms an iteration, 20,000 tokens/s of prefill."""
    rows = np.arange(257)
    zero = np.zeros((257, 1), dtype=np.int64)
    return Cost(
        tokens_ps=to_ps(0.007) + rows * 0 + np.arange(257) * to_ps(5e-5),
        sequences_ps=rows * 0,
        decode_ps=to_ps(0.007) + rows * to_ps(2e-5),
        knots=np.zeros(1, dtype=np.int64),
        attention_ps=zero,
        attention_slope=zero + to_ps(4e-8),
        chunks=np.array([0, 1]),
        before=np.array([0, 1]),
        decoding=np.array([0, 1]),
        contexts=np.array([0, 1]),
        mixed_ps=np.zeros((2, 2, 2, 2), dtype=np.int64),
        pieces_ps=np.zeros(1, dtype=np.int64),
    )


def setup() -> BatchingSetup:
    return BatchingSetup(example_cost(), LIMITS)


def engines() -> dict[str, EngineSetup]:
    return {"first": setup(), "last": setup()}


def on_two_engines(drawn: Pipeline) -> Pipeline:
    agents = [
        replace(a, engine="first" if not a.reads else "last", max_tokens=8 * TOKENS) for a in drawn
    ]
    return Pipeline(tuple(agents), drawn.answer)


def pipeline() -> Pipeline:
    return on_two_engines(moa([["a", "b", "c"]], "z"))


def deeper_pipelines() -> dict[str, Pipeline]:
    found = {
        "two layers": moa([["a", "b", "c"], ["d", "e", "f"]], "z"),
        "debate": debate(["a", "b", "c"], 2, answer="z"),
    }
    return {name: on_two_engines(drawn) for name, drawn in found.items()}


def workload(
    requests: int, rate: float, sigma: float, played_by: Pipeline | None = None
) -> Workload:
    """The answers of one request are as long as drawn, up to what an agent may write."""
    names = [agent.name for agent in played_by or pipeline()]
    normals = np.random.default_rng(1).standard_normal((requests, 1 + len(names)))
    drawn = np.exp(sigma * normals - sigma**2 / 2) * TOKENS
    lengths = np.maximum(np.rint(drawn), 1).astype(int).tolist()
    alike = RequestShape(
        {query(name): TOKENS for name in names}, dict.fromkeys(names, TOKENS), "length"
    )
    shapes = [alike] * requests
    if sigma:
        shapes = [
            RequestShape(
                {query(name): asked for name in names},
                dict(zip(names, written, strict=True)),
                "length",
            )
            for asked, *written in lengths
        ]
    return Workload(shapes, arrivals_ps=arrivals(requests, rate))


def arrivals(requests: int, rate: float) -> list[int]:
    gaps = np.random.default_rng(0).exponential(1 / rate, requests)
    return [to_ps(second) for second in np.cumsum(gaps)]


def played(schedule: Schedule, requests: Workload) -> PlayedTables:
    found = play_compiled(pipeline(), schedule, engines(), requests, keeps_all_times=True)
    assert found is not None
    return found


def lean(schedule: Schedule, requests: Workload) -> PlayedTables:
    """As the planner plays: without the times of proposals' tokens."""
    found = play_compiled(pipeline(), schedule, engines(), requests)
    assert found is not None
    return found


def capacity(schedule: Schedule, sigma: float) -> float:
    """Requests a second when all of them are there from the beginning."""
    found = lean(schedule, replace(workload(1000, 1.0, sigma), arrivals_ps=[0] * 1000))
    return 1000 / (int(found.requests["completed_ps"].max()) / PS_PER_S)


def timed(run: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = run()
    return time.perf_counter() - started, result


def best_of(times: int, run: Callable[[], object]) -> float:
    return min(timed(run)[0] for _ in range(times))


def three_ways(requests: int, sigma: float) -> Table:
    columns = ("rate 1/s", "token by token, s", "SimPy, s", "ratio", "tables, s", "ratio", "same")
    table = Table("schedule", *columns)
    for name, steps in (("normal", normal()), ("constant:8,64,64", constant(8, 64, 64))):
        schedule = uniform(pipeline(), steps)
        rate = LOAD * capacity(schedule, sigma)
        asked = workload(requests, rate, sigma)
        table.add_row(name, f"{rate:.2f}", *_three_ways(schedule, asked))
    return table


def _three_ways(schedule: Schedule, asked: Workload) -> tuple[str, ...]:
    slow: dict[str, EngineSetup] = {name: OracleSetup(setup()) for name in engines()}
    plain_s, expected = timed(lambda: simulate(pipeline(), schedule, slow, asked))
    simpy_s, lines = timed(lambda: simulate(pipeline(), schedule, engines(), asked))
    fast_s = best_of(5, lambda: lean(schedule, asked))
    same = lines == expected == played(schedule, asked).timelines()
    return (
        f"{plain_s:.2f}",
        f"{simpy_s:.3f}",
        f"{plain_s / simpy_s:.1f}",
        f"{fast_s:.4f}",
        f"{plain_s / fast_s:.0f} ({simpy_s / fast_s:.1f} times SimPy)",
        "yes" if same else "NO",
    )


def two_ways(requests: int, sigma: float) -> Table:
    """Deeper pipelines, at a request in four seconds."""
    table = Table("pipeline", "SimPy, s", "tables, s", "ratio", "same")
    for name, deeper in deeper_pipelines().items():
        table.add_row(name, *_two_ways(deeper, requests, sigma))
    return table


def _two_ways(deeper: Pipeline, requests: int, sigma: float) -> tuple[str, ...]:
    schedule = uniform(deeper, constant(8, 64, 64))
    asked = workload(requests, 0.25, sigma, deeper)
    simpy_s, lines = timed(lambda: simulate(deeper, schedule, engines(), asked))
    fast_s = best_of(5, lambda: play_compiled(deeper, schedule, engines(), asked))
    whole = play_compiled(deeper, schedule, engines(), asked, keeps_all_times=True)
    same = whole is not None and whole.timelines() == lines
    ratio = f"{simpy_s / fast_s:.1f}"
    return f"{simpy_s:.3f}", f"{fast_s:.4f}", ratio, "yes" if same else "NO"


def plain_requests() -> float:
    """Seconds for 2,000 requests of 512/128 tokens at 8/s on one replica."""
    shape = RequestShape({query("model"): TOKENS}, {"model": 128}, "length")
    asked = Workload([shape] * 2000, arrivals_ps=arrivals(2000, 8.0))
    one = BatchingSetup(example_cost(), replace(LIMITS, blocks=20_000))
    return best_of(5, lambda: play_compiled(single(), Schedule(), {"model": one}, asked))


def long_prompts_s(caches: bool) -> float:
    """Seconds for 100 requests of 32,768 tokens that are read in 75 steps."""
    schedule = uniform(pipeline(), constant(8, 7, 7), "append_rounds")
    names = [agent.name for agent in pipeline()]
    shape = RequestShape(
        {query(name): 32_768 for name in names}, dict.fromkeys(names, TOKENS), "length"
    )
    asked = Workload([shape] * 100, arrivals_ps=arrivals(100, 0.05))
    one = BatchingSetup(example_cost(), replace(LIMITS, blocks=100_000, prefix_caching=caches))
    two = {"first": one, "last": one}
    return best_of(2, lambda: play_compiled(pipeline(), schedule, two, asked))


def grow(requests: int, sigma: float) -> None:
    """Prints seconds and peak megabytes of a run of this size."""
    schedule = uniform(pipeline(), normal())
    rate = LOAD * capacity(schedule, sigma)
    asked = workload(requests, rate, sigma)
    before = peak_mb()
    seconds = best_of(3, lambda: lean(schedule, asked))
    print(seconds, before, peak_mb())


def peak_mb() -> float:
    """Of this process; what ``getrusage`` says is inherited from the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def growth(sigma: float) -> tuple[Table, float]:
    """Sizes, each in a process of its own; and the exponent of time over all of them."""
    table = Table("requests", "seconds", "µs a request", "peak MB", "of it before the run")
    seconds = []
    for size in SIZES:
        words = [sys.executable, "-m", "benchmarks.simulator_speed", "--grow", str(size)]
        words += ["--sigma", str(sigma)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        taken, before, after = map(float, done.stdout.split())
        seconds.append(taken)
        table.add_row(
            f"{size:,}",
            f"{taken:.4f}",
            f"{taken / size * 1e6:.1f}",
            f"{after:.0f}",
            f"{before:.0f}",
        )
    slope = np.polyfit(np.log(SIZES), np.log(seconds), 1)[0]
    return table, float(slope)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--sigma", type=float, default=0.6)
    parser.add_argument("--grow", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grow:
        grow(arguments.grow, arguments.sigma)
        return
    screen = Console(width=110)
    screen.print(three_ways(arguments.requests, arguments.sigma))
    screen.print(two_ways(arguments.requests, arguments.sigma))
    cached_s, plain_s = long_prompts_s(caches=True), long_prompts_s(caches=False)
    screen.print(
        f"100 prompts of 32,768 tokens in 75 steps: {cached_s:.3f} s with a prefix cache, "
        f"{plain_s:.3f} s without, {cached_s / plain_s:.2f} times"
    )
    screen.print(f"2,000 plain requests of 512/128 tokens at 8/s: {plain_requests():.4f} s")
    table, slope = growth(arguments.sigma)
    screen.print(table)
    screen.print(f"time grows with exponent {slope:.3f}")


if __name__ == "__main__":
    main()
