"""Every schedule of a scenario's families, simulated: what a search is measured against.

What is unread depends on no clock, so the sketch of all requests says it exactly
(``tests/test_sketch.py``): schedules beyond the limit on it are left out without being simulated.
What was simulated is kept in a file of JSON lines, so it can be interrupted and is made once.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from rich.progress import track

from planner.figures.front import front_of
from planner.figures.objectives import Goals
from planner.search.space import Space
from planner.workspace import Workspace
from profiles.store import content_hash
from simulator.forecast import Forecast, SimulatedForecaster
from staircase.schedule import Schedule

EXAMPLES = Path(__file__).parents[1] / "examples"
SCENARIOS = ("paper_moa", "two_layers", "debate")
Point = tuple[float, float]
ROUNDING = 1e-9
# Fewer sizes, for machines on which all take too long.
COARSE = {
    "first": [4, 8, 16, 32, 64],
    "chunk": [8, 16, 32, 64],
    "write": [4, 8, 16, 32],
    "ratio": [2.0],
}


@dataclass(frozen=True)
class Case:
    """A scenario, opened."""

    name: str
    key: str
    space: Space
    goals: Goals
    forecaster: SimulatedForecaster

    @staticmethod
    def open(name: str, is_coarse: bool = False) -> Case:
        work = Workspace.open(EXAMPLES / f"{name}.yaml", None)
        work = work.with_plan(COARSE if is_coarse else {})
        forecaster = SimulatedForecaster.open(work.scenario, work.source)
        spec = work.scenario.plan
        goals = Goals.of(spec, False)
        said = work.scenario.model_dump(mode="json", exclude={"plan"}, exclude_defaults=True)
        wanted = (
            [spec.reading_rate, *map(str, goals.limits)],
            [one.name for one in goals.objectives],
        )
        key = content_hash([said, *wanted])
        return Case(name, key, Space(forecaster.pipeline, spec), goals, forecaster)

    def point(self, forecast: Forecast) -> Point | None:
        """What the objectives come to; None beyond the limits."""
        if not self.goals.keeps(forecast.metrics):
            return None
        first, second = self.goals.costs(forecast.metrics)
        return first, second

    def schedules(self) -> list[Schedule]:
        """All of the families, each once."""
        return list({repr(s): s for s in map(self.space.schedule, self.space)}.values())

    def is_beyond(self, schedules: Sequence[Schedule]) -> list[bool]:
        """Of each, whether it is known without simulation that it does not keep a limit."""
        limits = [one for one in self.goals.limits if one.objective.name == "unread"]
        sketch = self.forecaster.sketch()
        if not sketch or not limits or not schedules:
            return [False] * len(schedules)
        figures = replace(sketch, requests=self.forecaster.workload.requests).of(schedules)
        return [share > limits[0].figure + ROUNDING for share in figures["unread"].tolist()]


@dataclass(frozen=True)
class Known:
    """What one schedule came to, and the seconds of CPU time that it took to know.

    Attributes:
        costs: none where it is beyond a limit without having been simulated.
    """

    costs: tuple[float, ...]
    excess: tuple[float, ...]
    cpu_s: float


BEYOND = Known((), (1.0,), 0.0)


def exact_front(case: Case, folder: Path) -> list[Point]:
    """The front of all schedules within the limits."""
    known = exhaustive(case, folder)
    every = [known[name] for one in case.schedules() if (name := repr(one)) in known]
    points = [(one.costs[0], one.costs[1]) for one in every if not any(one.excess)]
    return [points[number] for number in front_of(points)]


def exhaustive(case: Case, folder: Path, workers: int | None = None) -> dict[str, Known]:
    """All schedules of the families, by their ``repr``; goes on where it was interrupted."""
    path = folder / f"{case.name}-{case.key}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = dict(_read(path))
    left = [one for one in case.schedules() if repr(one) not in known]
    with path.open("a") as file:
        beyond = case.is_beyond(left)
        for schedule, is_beyond in zip(left, beyond, strict=True):
            if is_beyond:
                known[repr(schedule)] = _noted(file, schedule, BEYOND)
        rest = [one for one, is_beyond in zip(left, beyond, strict=True) if not is_beyond]
        # Neighbours cost alike: every other hundredth spreads long and short ones over the run.
        spread = [one for first in range(100) for one in rest[first::100]]
        with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
            pairs = zip(spread, pool.map(partial(_known, case), spread), strict=True)
            for schedule, one in track(pairs, f"all of {case.name}", total=len(spread)):
                known[repr(schedule)] = _noted(file, schedule, one)
    return known


def _noted(file: TextIO, schedule: Schedule, one: Known) -> Known:
    file.write(json.dumps([repr(schedule), one.costs, one.excess, one.cpu_s]) + "\n")
    file.flush()
    return one


def _read(path: Path) -> Iterator[tuple[str, Known]]:
    lines: Sequence[str] = path.read_text().split("\n")[:-1] if path.is_file() else ()
    for line in lines:
        name, costs, excess, cpu_s = json.loads(line)
        yield name, Known(tuple(costs), tuple(excess), cpu_s)


def _known(case: Case, schedule: Schedule) -> Known:
    begun = time.process_time()
    metrics = case.forecaster(schedule).metrics
    excess = tuple(limit.excess(metrics) for limit in case.goals.limits)
    return Known(case.goals.costs(metrics), excess, time.process_time() - begun)
