"""What a second worker is worth to a search: ratios of wall times measured in one run.

    python -m benchmarks.search_workers [--workers 2] [--trials 60] [--requests 24] [--rounds 4]

The same search of `examples/two_layers.yaml` by this process alone and by the workers of a local
Ray cluster, in turn. All must find the same. Left out, and given beside it, is the time until every
worker is there and has the simulator loaded, which does not depend on the number of trials. A core
for each worker is needed. At the end the least of the rounds are set side by side, as whatever else
the machine does only ever adds time.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

from planner.results.plans import Plan
from planner.search.cached_forecasts import Backend, LocalBackend
from planner.search.parallel_forecasts import backend_of
from planner.search.search import search
from planner.workspace import Workspace
from staircase.schedule import constant, uniform

SCENARIO = Path(__file__).parents[1] / "examples" / "two_layers.yaml"


@dataclass
class Runs:
    """The wall times of each way, and what all of them found."""

    work: Workspace
    alone_s: list[float] = field(default_factory=list)
    together_s: list[float] = field(default_factory=list)
    found: Plan | None = None

    def play(self, backend: Backend, times_s: list[float]) -> None:
        forecaster = self.work.forecaster()
        begun = time.perf_counter()
        plan = search(
            self.work.scenario, forecaster, {}, backend=backend, held_out=self.work.held_out()
        )
        times_s.append(time.perf_counter() - begun)
        assert self.found in (None, plan), "several workers found something else than one"
        self.found = plan


def warm(backend: Backend, work: Workspace, forecasts: int) -> None:
    """Every worker has made a forecast, most likely."""
    pipeline = work.scenario.pipeline.build()
    schedules = [uniform(pipeline, constant(8, 16, 16), "interleave")] * forecasts
    for _ in backend.forecast(schedules):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description="What a second worker is worth.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    work = Workspace.open(SCENARIO, None).with_requests(given.requests)
    runs = Runs(work.with_plan({"trials": given.trials}))
    forecaster = runs.work.forecaster()
    alone = LocalBackend(forecaster)
    warm(alone, work, 1)
    begun = time.perf_counter()
    with backend_of(forecaster, given.workers) as backend:
        warm(backend, work, 4 * given.workers)
        start_s = time.perf_counter() - begun
        for number in range(given.rounds):
            runs.play(alone, runs.alone_s)
            runs.play(backend, runs.together_s)
            say(f"round {number + 1}", runs.alone_s[-1], runs.together_s[-1])
    assert runs.found
    say("the least", min(runs.alone_s), min(runs.together_s))
    trials = len(runs.found.candidates)
    print(
        f"{trials} trials, the same in all, {min(runs.alone_s) / trials * 1e3:.0f} ms each by one"
    )
    print(f"{start_s:.1f} s until the {given.workers} workers were ready")


def say(what: str, one_s: float, several_s: float) -> None:
    print(f"{what}: one {one_s:.1f} s, several {several_s:.1f} s, ratio {one_s / several_s:.2f}")


if __name__ == "__main__":
    main()
