"""How many staircases a second the closed form plays, beside the compiled event loop, in one run.

    python -m benchmarks.closed_form [--candidates 1000000]

One Mixture-of-Agents request (3 proposers, an engine for each agent, 512 prompt and 512 written
tokens) under random ``constant`` staircases: first, chunk and write from 4 to 128 tokens.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.simulator_speed import TOKENS, example_cost
from simulator.analytic.candidates import Candidates, constant_candidates
from simulator.analytic.closed_form import AloneTimes
from simulator.analytic.request_form import closed_form
from simulator.compiled.play import play_compiled
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.engine import EngineSetup
from staircase import Pipeline, RequestShape, Schedule, Workload, constant, moa
from staircase.prompt import query
from staircase.schedule import LAYOUTS, Layout

SHORTEST, LONGEST = 4, 128
# Staircases that are played in the event loop too.
PLAYED = 200


def example(blocks: int | None) -> tuple[Pipeline, dict[str, EngineSetup], RequestShape]:
    pipeline = moa([["a", "b", "c"]], "z")
    setup = BatchingSetup(example_cost(), Limits(2048, 256, blocks))
    names = [agent.name for agent in pipeline]
    request = RequestShape(
        {query(name): TOKENS for name in names}, dict.fromkeys(names, TOKENS), "length"
    )
    return pipeline, dict.fromkeys(pipeline.engines, setup), request


def played(
    pipeline: Pipeline,
    layout: Layout,
    setups: dict[str, EngineSetup],
    request: RequestShape,
    staircases: Sequence[tuple[int, int, int]],
) -> list[tuple[int, int]]:
    """TTFT and E2E in the compiled event loop."""
    found = []
    for numbers in staircases:
        schedule = Schedule({"z": constant(*numbers)}, layout)
        match = play_compiled(pipeline, schedule, setups, Workload([request]))
        assert match is not None
        found.append((int(match.token_ps[0]), int(match.token_ps[TOKENS - 1])))
    return found


def compare(table: Table, layout: Layout, blocks: int | None, numbers: np.ndarray) -> None:
    """One row: the same staircases both ways."""
    pipeline, setups, request = example(blocks)
    started = time.perf_counter()
    times = forecast(pipeline, layout, setups, request, constant_candidates(*numbers))
    closed_s = (time.perf_counter() - started) / len(times.calls)
    sample = [(int(a), int(b), int(c)) for a, b, c in numbers[:, :PLAYED].T]
    started = time.perf_counter()
    expected = played(pipeline, layout, setups, request, sample)
    loop_s = (time.perf_counter() - started) / len(sample)
    pairs = zip(times.ttft_ps[:PLAYED].tolist(), times.e2e_ps[:PLAYED].tolist(), strict=True)
    table.add_row(
        layout,
        "no" if blocks is None else "yes",
        f"{times.calls.mean():.1f}",
        f"{1 / closed_s:,.0f}",
        f"{1 / loop_s:,.0f}",
        f"{loop_s / closed_s:,.0f}",
        "yes" if list(pairs) == expected else "NO",
    )


def forecast(
    pipeline: Pipeline,
    layout: Layout,
    setups: dict[str, EngineSetup],
    request: RequestShape,
    candidates: Candidates,
) -> AloneTimes:
    return closed_form(pipeline, Schedule(layout=layout), setups, request).play(candidates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    arguments = parser.parse_args()
    shape = (3, max(arguments.candidates, PLAYED))
    numbers = np.random.default_rng(0).integers(SHORTEST, LONGEST + 1, shape)
    columns = ("layout", "cache", "steps", "closed form /s", "event loop /s", "ratio", "same times")
    table = Table(*columns)
    # Compiled functions are loaded before the clock starts.
    for blocks in (None, 10_000):
        compare(Table(*columns), "rebuild", blocks, numbers[:, :PLAYED])
        for layout in LAYOUTS:
            compare(table, layout, blocks, numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
