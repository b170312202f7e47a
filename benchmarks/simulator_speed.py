"""How fast the simulator is: ratios measured in one run.

    python -m benchmarks.simulator_speed [--requests 200]

The same Mixture-of-Agents requests (3 proposers on one engine, the aggregator on another, 512
prompt and 512 written tokens, Poisson arrivals) on the compiled core and token by token.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from simulator.batching import BatchingSetup, Limits
from simulator.cost import Cost
from simulator.engine import EngineSetup
from simulator.simulate import simulate
from staircase import Pipeline, RequestShape, Schedule, Workload, constant, moa, normal, uniform
from staircase.prompt import query
from staircase.timeline import Timeline, to_ps
from tests.support.oracle import OracleSetup

TOKENS = 512


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
    )


def example(requests: int, rate: float) -> tuple[Pipeline, Workload]:
    drawn = moa([["a", "b", "c"]], "z")
    agents = [
        replace(a, engine="first" if not a.reads else "last", max_tokens=TOKENS) for a in drawn
    ]
    shape = RequestShape(
        {query(a.name): TOKENS for a in agents}, {a.name: TOKENS for a in agents}, "length"
    )
    gaps = np.random.default_rng(0).exponential(1 / rate, requests)
    arrivals = [to_ps(second) for second in np.cumsum(gaps)]
    return Pipeline(tuple(agents), "z"), Workload([shape] * requests, arrivals_ps=arrivals)


def timed(run: Callable[[], list[Timeline]]) -> tuple[float, list[Timeline]]:
    started = time.perf_counter()
    lines = run()
    return time.perf_counter() - started, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rate", type=float, default=4.0, help="requests a second")
    arguments = parser.parse_args()
    pipeline, workload = example(arguments.requests, arguments.rate)
    setup = BatchingSetup(example_cost(), Limits(2048, 256))
    fast: dict[str, EngineSetup] = {"first": setup, "last": setup}
    slow: dict[str, EngineSetup] = {"first": OracleSetup(setup), "last": OracleSetup(setup)}
    table = Table("schedule", "token by token, s", "compiled core, s", "ratio", "same times")
    schedules: dict[str, Schedule] = {
        "normal": uniform(pipeline, normal()),
        "constant:8,64,64": uniform(pipeline, constant(8, 64, 64)),
    }
    simulate(pipeline, Schedule(), fast, Workload(workload.requests[:2]))
    for name, schedule in schedules.items():
        quick, lines = timed(lambda s=schedule: simulate(pipeline, s, fast, workload))  # type: ignore[misc]
        plain, expected = timed(lambda s=schedule: simulate(pipeline, s, slow, workload))  # type: ignore[misc]
        same = "yes" if lines == expected else "NO"
        table.add_row(name, f"{plain:.2f}", f"{quick:.2f}", f"{plain / quick:.1f}", same)
    Console().print(table)


if __name__ == "__main__":
    main()
