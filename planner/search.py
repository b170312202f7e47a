"""The search: an Optuna study over schedules, judged by simulation.

Every generation asks the study for points: first the neighbours of the front that were not tried
yet, then what its sampler suggests. Forecasts are exact for the simulated requests, so a schedule
is forecast once, however often it is suggested. At the end steps of the best staircases are moved,
split and merged freely, outside of the families.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

import optuna
from optuna.study import StudyDirection
from optuna.trial import create_trial

from planner.moves import moves_of
from planner.objectives import Goals
from planner.plans import Candidate, Plan, choose, find, pareto_front
from planner.space import Point, Space, paper_staircase
from profiles.store import provenance_of_now
from simulator.forecast import Forecast
from staircase.pipeline import Pipeline
from staircase.scenario import Scenario
from staircase.schedule import Schedule, normal, uniform

T = TypeVar("T")

GENERATION = 20
# Of a generation, at most so many are neighbours of the front.
NEIGHBOURS = 14
# The search ends after so many generations without anything new.
PATIENCE = 5
# Of all trials, so many are free moves.
FREE_SHARE = 0.2


class Judge(Protocol):
    """Forecasts schedules of one pipeline."""

    @property
    def pipeline(self) -> Pipeline: ...

    @property
    def knows_quality(self) -> bool: ...

    def __call__(self, schedule: Schedule) -> Forecast: ...


class Memory(Protocol):
    """Forecasts that were made before."""

    def recall(self, schedule: Schedule) -> Candidate | None: ...

    def note(self, candidate: Candidate) -> None: ...


class Forgetful:
    """The memory of a search that nobody will go on with."""

    def recall(self, schedule: Schedule) -> Candidate | None:
        return None

    def note(self, candidate: Candidate) -> None:
        pass


NOTHING_KNOWN = Forgetful()


class Crew(Protocol):
    """Whoever makes the forecasts of a generation: this process, or several."""

    def forecast(self, schedules: Sequence[Schedule]) -> Iterator[Candidate]:
        """Each in turn, as soon as it is ready."""
        ...


@dataclass(frozen=True)
class Alone:
    """One after the other, in this process."""

    judge: Judge

    def forecast(self, schedules: Sequence[Schedule]) -> Iterator[Candidate]:
        return (Candidate.of(schedule, self.judge(schedule)) for schedule in schedules)


@dataclass
class Book:
    """Forecasts every schedule once."""

    crew: Crew
    memory: Memory = NOTHING_KNOWN
    on_trial: Callable[[], None] = lambda: None
    candidates: list[Candidate] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def __contains__(self, schedule: Schedule) -> bool:
        return repr(schedule) in self._numbers

    def candidate(self, schedule: Schedule) -> Candidate:
        return self.forecast_all([schedule])[0]

    def forecast_all(self, schedules: Sequence[Schedule]) -> list[Candidate]:
        """The candidates of ``schedules``; those that are new are forecast together."""
        new = {repr(one): one for one in schedules if one not in self}
        known = {name: self.memory.recall(one) for name, one in new.items()}
        made = self.crew.forecast([one for name, one in new.items() if not known[name]])
        for name in new:
            candidate = known[name] or self._noted(next(made))
            self._numbers[name] = len(self.candidates)
            self.candidates.append(candidate)
            self.on_trial()
        return [self.candidates[self._numbers[repr(one)]] for one in schedules]

    def _noted(self, candidate: Candidate) -> Candidate:
        self.memory.note(candidate)
        return candidate


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True)
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.NSGAIISampler(population_size=2 * GENERATION, seed=seed)


@dataclass
class Search:
    """One search under way.

    Attributes:
        trials: schedules to forecast at most.
        neighbours: of a generation, at most so many are neighbours of the front.
    """

    space: Space
    goals: Goals
    book: Book
    study: optuna.Study
    trials: int
    neighbours: int = NEIGHBOURS
    _points: dict[str, Point] = field(default_factory=dict)

    def run(self) -> None:
        for point in self.space.baselines():
            self.study.enqueue_trial(dict(point))
        self._generation(len(self.space.baselines()))
        families = round(self.trials * (1 - FREE_SHARE))
        idle = 0
        while len(self.book.candidates) < families and idle < PATIENCE:
            known = len(self.book.candidates)
            near = list(islice(self._untried(), self.neighbours))
            for neighbour in near:
                self.study.enqueue_trial(dict(neighbour))
            self._generation(min(GENERATION, families - known))
            idle = 0 if len(self.book.candidates) > known else idle + 1
        self._free_moves()

    def _generation(self, size: int) -> None:
        """Asks for ``size`` points and tells what they come to."""
        asked = [self.study.ask() for _ in range(size)]
        points = [self.space.suggest(trial) for trial in asked]
        schedules = [self.space.schedule(point) for point in points]
        for schedule, point in zip(schedules, points, strict=True):
            self._points.setdefault(repr(schedule), point)
        for trial, candidate in zip(asked, self.book.forecast_all(schedules), strict=True):
            for limit in self.goals.limits:
                trial.set_constraint(str(limit), limit.excess(candidate.forecast))
            self.study.tell(trial, self.goals.costs(candidate.forecast))

    def _untried(self) -> Iterator[Point]:
        """Neighbours of the front that were not tried yet, those of its members in turn."""
        seen: set[str] = set()
        members = [self._points.get(repr(schedule)) for schedule in self._front()]
        for near in _in_turn([self.space.neighbours(point) for point in members if point]):
            schedule = self.space.schedule(near)
            if schedule not in self.book and repr(schedule) not in seen:
                seen.add(repr(schedule))
                yield near

    def _free_moves(self) -> None:
        """Moves, splits and merges steps of the front's staircases, as long as there are trials."""
        while len(self.book.candidates) < self.trials:
            moved = _in_turn([moves_of(schedule) for schedule in self._front()])
            new = list(islice((s for s in moved if s not in self.book), GENERATION))
            if not new:
                return
            for one in self.book.forecast_all(new[: self.trials - len(self.book.candidates)]):
                self._tell_of(one)

    def _tell_of(self, one: Candidate) -> None:
        """The study hears of a schedule that is not in its space."""
        excess = {str(limit): limit.excess(one.forecast) for limit in self.goals.limits}
        self.study.add_trial(
            create_trial(
                values=self.goals.costs(one.forecast),
                user_attrs={"schedule": repr(one.schedule)},
                constraints=excess,
            )
        )

    def _front(self) -> list[Schedule]:
        candidates = self.book.candidates
        return [candidates[number].schedule for number in pareto_front(candidates, self.goals)]


def _in_turn(sources: Iterable[Iterator[T]]) -> Iterator[T]:
    """The first of each, the second of each, …"""
    left = deque(sources)
    while left:
        source = left.popleft()
        for one in islice(source, 1):
            yield one
            left.append(source)


def search(
    scenario: Scenario,
    judge: Judge,
    profile_hashes: Mapping[str, str],
    on_trial: Callable[[], None] = lambda: None,
    memory: Memory = NOTHING_KNOWN,
    crew: Crew | None = None,
) -> Plan:
    """Searches for the schedules that nobody beats in the scenario's objectives.

    The same seed gives the same candidates. Baselines are tried first. What ``memory`` recalls is
    not forecast again. ``crew`` makes the forecasts, ``judge`` itself if there is none.

    Raises:
        PlanError: an objective is not known, or no schedule is within the limits.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec, space = scenario.plan, Space(judge.pipeline, scenario.plan)
    goals, book = Goals.of(spec, judge.knows_quality), Book(crew or Alone(judge), memory, on_trial)
    baselines = [
        uniform(judge.pipeline, staircase, layout)
        for layout in spec.layouts
        for staircase in (normal(), paper_staircase(spec))
    ]
    for one in book.forecast_all(baselines):
        goals.check(one.forecast)
    study = optuna.create_study(
        directions=[StudyDirection.MINIMIZE] * len(goals.objectives),
        sampler=make_sampler(spec.sampler, spec.seed),
    )
    Search(space, goals, book, study, spec.trials).run()
    return _plan(scenario, goals, book.candidates, profile_hashes)


def _plan(
    scenario: Scenario,
    goals: Goals,
    candidates: list[Candidate],
    profile_hashes: Mapping[str, str],
) -> Plan:
    spec, pipeline = scenario.plan, scenario.pipeline.build()
    chosen = choose(candidates, goals)
    layout = candidates[chosen].schedule.layout
    return Plan(
        scenario=scenario.name,
        objectives=tuple(objective.name for objective in goals.objectives),
        limits=tuple(str(limit) for limit in goals.limits),
        candidates=tuple(candidates),
        front=pareto_front(candidates, goals),
        chosen=chosen,
        normal=find(candidates, uniform(pipeline, normal(), layout)),
        paper=find(candidates, uniform(pipeline, paper_staircase(spec), layout)),
        profile_hashes=dict(profile_hashes),
        provenance=provenance_of_now(spec.model_dump(mode="json", exclude={"storage"})),
    )
