"""How near a search comes to the front of all schedules of the families, and how fast.

    python -m benchmarks.planner_front [--seconds 15 60] [--seeds 3] [--exact FOLDER]

For each of three example scenarios every schedule of the families is simulated, on all cores; that
takes minutes, and the points are kept in FOLDER. Then searches that know nothing of it run one
after the other on one core. Given is the share of the hypervolume of the exact front that was
reached after so many seconds of CPU time, the median over seeds, how many schedules were forecast
by then, and the share of the time that was not spent on simulating (Optuna's own, mostly). Only
schedules within the scenario's limits count. The corner is the worst of the exact front in each
objective. Free staircases are not in the families, so more than 1 can be reached.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import optuna
from rich.console import Console
from rich.progress import track
from rich.table import Table

from planner.front import front_of, hypervolume
from planner.objectives import Goals
from planner.search import NEIGHBOURS, Alone, Book, Search, make_sampler
from planner.space import Space
from planner.workspace import Workspace
from simulator.forecast import Forecast, SimulatedWorld
from staircase.files import write_text
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule

EXAMPLES = Path(__file__).parents[1] / "examples"
SCENARIOS = ("paper_moa", "two_layers", "debate")
# Sampler, and how many of a generation are neighbours of the front.
WAYS = {
    "random": ("random", 0),
    "NSGA-II": ("nsga2", 0),
    "TPE": ("tpe", 0),
    "NSGA-II and neighbours": ("nsga2", NEIGHBOURS),
    "TPE and neighbours": ("tpe", NEIGHBOURS),
}
Point = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """A scenario, opened."""

    name: str
    space: Space
    goals: Goals
    world: SimulatedWorld

    @staticmethod
    def open(name: str) -> Case:
        work = Workspace.open(EXAMPLES / f"{name}.yaml", None)
        world = SimulatedWorld.open(work.scenario, work.source)
        spec = work.scenario.plan
        return Case(name, Space(world.pipeline, spec), Goals.of(spec, False), world)

    def point(self, forecast: Forecast) -> Point | None:
        """What the objectives come to; None beyond the limits."""
        if not self.goals.keeps(forecast.metrics):
            return None
        first, second = self.goals.costs(forecast.metrics)
        return first, second


def exact_points(case: Case, folder: Path) -> list[Point]:
    """The front of all schedules of the families."""
    path = folder / f"{case.name}.json"
    if not path.is_file():
        schedules = list({repr(s): s for s in map(case.space.schedule, case.space)}.values())
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            points = pool.map(partial(_point_of, case), schedules, chunksize=20)
            shown = track(points, f"all of {case.name}", total=len(schedules))
            found = [point for point in shown if point]
        write_text(path, json.dumps([found[number] for number in front_of(found)]))
    return [(x, y) for x, y in json.loads(path.read_text())]


def _point_of(case: Case, schedule: Schedule) -> Point | None:
    return case.point(case.world(schedule))


@dataclass
class Watched:
    """A judge that notes what it found, and when."""

    case: Case
    seconds: float
    started: float = field(default_factory=time.process_time)
    busy_s: float = 0.0
    ended_s: float = 0.0
    notes: list[tuple[float, Point]] = field(default_factory=list)

    @property
    def pipeline(self) -> Pipeline:
        return self.case.world.pipeline

    @property
    def knows_quality(self) -> bool:
        return False

    def __call__(self, schedule: Schedule) -> Forecast:
        begun = time.process_time()
        if begun - self.started > self.seconds:
            raise TimeoutError
        forecast = self.case.world(schedule)
        ended = time.process_time()
        self.busy_s += ended - begun
        self.ended_s = ended - self.started
        point = self.case.point(forecast)
        if point:
            self.notes.append((self.ended_s, point))
        return forecast


def run_search(case: Case, way: str, seed: int, seconds: float) -> Watched:
    sampler, neighbours = WAYS[way]
    watched = Watched(case, seconds)
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=make_sampler(sampler, seed)
    )
    search = Search(case.space, case.goals, Book(Alone(watched)), study, 1 << 30, neighbours)
    with suppress(TimeoutError):
        search.run()
    return watched


def corner_of(front: Sequence[Point]) -> Point:
    """A little beyond the worst of the front, so that its ends count too."""
    return max(x for x, _ in front) * 1.01, max(y for _, y in front) * 1.01


def row(case: Case, way: str, front: list[Point], seeds: int, seconds: list[float]) -> list[str]:
    corner = corner_of(front)
    whole = hypervolume(front, corner)
    runs = [run_search(case, way, seed, max(seconds)) for seed in range(seeds)]
    cells = []
    for until in seconds:
        by_then = [[point for at, point in run.notes if at <= until] for run in runs]
        share = statistics.median(hypervolume(found, corner) / whole for found in by_then)
        cells.append(f"{share:.4f}")
    forecasts = statistics.median(len(run.notes) for run in runs)
    own = statistics.median(1 - run.busy_s / max(run.ended_s, 1e-9) for run in runs)
    return [case.name, way, *cells, f"{forecasts:.0f}", f"{own:.1%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[15.0, 60.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--exact", type=Path, default=Path("runs/planner_front"))
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    columns = [f"after {seconds:g} s" for seconds in options.seconds]
    table = Table("scenario", "search", *columns, "kept the limits", "not simulating")
    for name in options.scenarios:
        case = Case.open(name)
        front = exact_points(case, options.exact)
        for way in WAYS:
            table.add_row(*row(case, way, front, options.seeds, options.seconds))
    Console().print(table)


if __name__ == "__main__":
    main()
