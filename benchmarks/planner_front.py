"""How near a search comes to the front of all schedules of the families, and how fast.

    python -m benchmarks.planner_front [--seconds 15 60] [--seeds 3] [--exact FOLDER] [--coarse]

Families: ``normal``, ``constant`` and ``geometric`` in the sizes and layouts of the scenario's
plan, the same staircase for every reading agent: 3,644 schedules. For each of three example
scenarios all of them that can keep the limit on what is unread are simulated, on all cores; that
takes minutes, and what was found is kept in FOLDER. Then searches that know
nothing of it run one after the other, on one core. Given is the share of the hypervolume of the
exact front that was reached after so many seconds of CPU time, by schedules of the families alone
and by all, medians over seeds, how many schedules were forecast by then, the share of the time
that was not spent on simulating, and the share that was spent inside of Optuna (what is left of the
former is the ladder's sketch and regression, and looking for neighbours). Only schedules within the
scenario's limits count. The corner is 1 % beyond the worst of the exact front in each objective.
Free staircases, which each search tries when its families stand still, are not in the families, so
all can reach more than 1. A search that has ended counts with what it had.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import optuna
from rich.console import Console
from rich.table import Table

from benchmarks.exhaustive import SCENARIOS, Case, Point, exact_front
from planner.figures.front import hypervolume
from planner.search.cached_forecasts import CachedForecasts, LocalBackend
from planner.search.search import NEAR, Search, make_sampler
from planner.search.surrogate import Surrogate
from simulator.analytic.sketch import Sketch
from simulator.forecast import Forecast
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule

# Sampler, how many of a generation are not the sampler's, and whether there is a surrogate.
WAYS = {
    "random": ("random", 0, False),
    "TPE": ("tpe", 0, False),
    "NSGA-II": ("nsga2", 0, False),
    "NSGA-II and neighbours": ("nsga2", NEAR, False),
    "ladder": ("nsga2", NEAR, True),
}
FOREVER = 1 << 30
# Where a search calls Optuna.
CALLED: tuple[tuple[type, tuple[str, ...]], ...] = (
    (optuna.Study, ("ask", "tell", "enqueue_trial", "add_trial")),
    (optuna.Trial, ("suggest_categorical", "set_constraint")),
)


@dataclass
class Stopwatch:
    """CPU seconds inside of some functions; a call within another is not counted twice."""

    seconds: float = 0.0
    _is_running: bool = False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **named: Any) -> Any:
            if self._is_running:
                return function(*args, **named)
            self._is_running, begun = True, time.process_time()
            try:
                return function(*args, **named)
            finally:
                self.seconds += time.process_time() - begun
                self._is_running = False

        return run

    @contextmanager
    def on_optuna(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, names in CALLED:
                for name in names:
                    timed = self.timed(getattr(owner, name))
                    stack.enter_context(mock.patch.object(owner, name, timed))
            yield


class State(NamedTuple):
    """A search after some seconds.

    Attributes:
        families, every: what it had found within the limits, of the families and in all.
        own: share of its time that was not spent on forecasts.
        optuna: share that was spent inside of Optuna.
    """

    families: list[Point]
    every: list[Point]
    forecasts: int
    own: float
    optuna: float


@dataclass
class Watched:
    """A forecaster that notes what it found, and when.

    Attributes:
        families: the ``repr`` of all schedules of the families.
        notes: CPU seconds since the beginning, what was found (None beyond the limits), and whether
            it is of the families.
        busy_s, optuna_s: CPU seconds of simulation, and inside of Optuna, up to each note.
    """

    case: Case
    seconds: float
    families: Set[str]
    started: float = field(default_factory=time.process_time)
    notes: list[tuple[float, Point | None, bool]] = field(default_factory=list)
    busy_s: list[float] = field(default_factory=list)
    optuna_s: list[float] = field(default_factory=list)
    optuna: Stopwatch = field(default_factory=Stopwatch)

    @property
    def pipeline(self) -> Pipeline:
        return self.case.forecaster.pipeline

    @property
    def knows_quality(self) -> bool:
        return False

    def sketch(self) -> Sketch | None:
        return self.case.forecaster.sketch()

    def __call__(self, schedule: Schedule) -> Forecast:
        begun = time.process_time()
        if begun - self.started > self.seconds:
            raise TimeoutError
        forecast = self.case.forecaster(schedule)
        ended = time.process_time()
        self.busy_s.append(ended - begun + (self.busy_s[-1] if self.busy_s else 0.0))
        self.optuna_s.append(self.optuna.seconds)
        is_family = repr(schedule) in self.families
        self.notes.append((ended - self.started, self.case.point(forecast), is_family))
        return forecast

    def by(self, seconds: float) -> State:
        notes = [note for note in self.notes if note[0] <= seconds]
        families = [point for _, point, is_family in notes if point and is_family]
        every = [point for _, point, _ in notes if point]
        if not notes:
            return State(families, every, 0, 1.0, 0.0)
        last, spent = len(notes) - 1, notes[-1][0]
        shares = (1 - self.busy_s[last] / spent, self.optuna_s[last] / spent)
        return State(families, every, len(notes), *shares)


def run_search(case: Case, way: str, seed: int, seconds: float) -> Watched:
    sampler, near, is_guided = WAYS[way]
    watched = Watched(case, seconds, {repr(one) for one in case.schedules()})
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=make_sampler(sampler, seed)
    )
    sketch = watched.sketch() if is_guided else None
    surrogate = Surrogate(sketch, case.goals) if sketch else None
    cached = CachedForecasts(LocalBackend(watched))
    search = Search(case.space, case.goals, cached, study, FOREVER, surrogate, near, seed)
    with suppress(TimeoutError), watched.optuna.on_optuna():
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
        states = [run.by(until) for run in runs]
        of_families = statistics.median(hypervolume(s.families, corner) / whole for s in states)
        of_all = statistics.median(hypervolume(s.every, corner) / whole for s in states)
        forecasts = statistics.median(state.forecasts for state in states)
        own = statistics.median(state.own for state in states)
        inside = statistics.median(state.optuna for state in states)
        cells += [f"{of_families:.4f}", f"{of_all:.4f}", f"{forecasts:.0f}"]
        cells += [f"{own:.1%}", f"{inside:.1%}"]
    return [case.name, way, *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[15.0, 60.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--exact", type=Path, default=Path("runs/planner_front"))
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    parser.add_argument("--coarse", action="store_true", help="fewer sizes (484 points)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    columns = [
        name
        for seconds in options.seconds
        for name in (f"after {seconds:g} s", "all", "forecasts", "own time", "Optuna")
    ]
    table = Table("scenario", "search", *columns)
    for name in options.scenarios:
        case = Case.open(name, options.coarse)
        front = exact_front(case, options.exact)
        for schedule in case.schedules()[:2]:
            case.forecaster(schedule)  # What is compiled is compiled before.
        for way in options.ways:
            table.add_row(*row(case, way, front, options.seeds, options.seconds))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
