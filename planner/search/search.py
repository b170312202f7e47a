"""The search: an Optuna study over schedules, judged by simulation, in rungs.

1. A sketch of all schedules of the families (``planner.search.surrogate``), where there is a closed
   form.
2. Generations of simulations: what the surrogate finds promising, given what was simulated so far;
   neighbours of the front that were not tried yet; then what the study's sampler suggests.
3. Steps of the front's staircases are moved, split and merged freely, outside of the families.

A rung ends when the front's hypervolume stands still. Forecasts are exact for the simulated
requests, so a schedule is forecast once, however often it is suggested.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import optuna
from optuna.study import StudyDirection
from optuna.trial import create_trial

from planner.figures.objectives import Goals
from planner.results.plans import (
    Candidate,
    HeldOut,
    Plan,
    choose,
    find,
    hold_out,
    pareto_front,
    spread_out,
)
from planner.search.cached_forecasts import (
    NO_STORE,
    Backend,
    CachedForecasts,
    LocalBackend,
    TrialStore,
)
from planner.search.moves import moves_of
from planner.search.space import Point, Space, paper_staircase
from planner.search.standstill import Standstill
from planner.search.surrogate import Surrogate
from profiles.store import provenance_of_now
from simulator.forecaster import Forecaster, ScheduleForecaster
from staircase.schedule import Schedule, normal, uniform
from staircase.spec.scenario import Scenario

T = TypeVar("T")

GENERATION = 20
# Of a generation, at most so many are what the surrogate finds promising, then together with
# neighbours of the front so many; the others are the sampler's.
PROMISING = 12
NEAR = 16
# So many schedules are sketched at most before the search begins.
SKETCHED = 10_000
# So many members of the front are looked at on held-out requests.
MOST_HELD_OUT = 12
# Of all trials, so many are free moves.
FREE_SHARE = 0.2


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
        surrogate: knows the space's schedules; None where there is no closed form.
        near: of a generation, at most so many are not the sampler's.
    """

    space: Space
    goals: Goals
    cached: CachedForecasts
    study: optuna.Study
    trials: int
    surrogate: Surrogate | None = None
    near: int = NEAR
    seed: int = 0
    _points: dict[str, Point] = field(default_factory=dict)

    def run(self) -> None:
        for point in self.space.baselines():
            self.study.enqueue_trial(dict(point))
        self._generation(len(self.space.baselines()))
        self._families(round(self.trials * (1 - FREE_SHARE)))
        self._free_moves()

    def _families(self, trials: int) -> None:
        if self.surrogate:
            self._learn(list(self.space.sample(SKETCHED, self.seed)))
        still = Standstill()
        while len(self.cached.candidates) < trials and not still.sees(self._front_costs()):
            for point in islice(self._worth_trying(), self.near):
                self.study.enqueue_trial(dict(point))
            self._generation(min(GENERATION, trials - len(self.cached.candidates)))

    def _worth_trying(self) -> Iterator[Point]:
        """What the surrogate finds promising, then neighbours of the front."""
        near, seen = list(self._untried()), set[str]()
        if self.surrogate:
            self._learn(near)
            for schedule in self.surrogate.promising(
                self.cached.candidates, self._best(), PROMISING
            ):
                seen.add(schedule.key)
                yield self._points[schedule.key]
        yield from (point for point in near if self.space.schedule(point).key not in seen)

    def _learn(self, points: Sequence[Point]) -> None:
        """The surrogate hears of ``points``."""
        assert self.surrogate
        schedules = [self.space.schedule(point) for point in points]
        for schedule, point in zip(schedules, points, strict=True):
            self._points.setdefault(schedule.key, point)
        self.surrogate.add(schedules)

    def _generation(self, size: int) -> None:
        """Asks for ``size`` points and tells what they come to."""
        asked = [self.study.ask() for _ in range(size)]
        points = [self.space.suggest(trial) for trial in asked]
        schedules = [self.space.schedule(point) for point in points]
        for schedule, point in zip(schedules, points, strict=True):
            self._points.setdefault(schedule.key, point)
        for trial, candidate in zip(asked, self.cached.forecast_all(schedules), strict=True):
            for limit in self.goals.limits:
                trial.set_constraint(str(limit), limit.excess(candidate.forecast))
            self.study.tell(trial, self.goals.costs(candidate.forecast))

    def _untried(self) -> Iterator[Point]:
        """Neighbours of the front that were not tried yet, those of its members in turn."""
        seen: set[str] = set()
        members = [self._points.get(schedule.key) for schedule in self._front()]
        for near in _in_turn([self.space.neighbours(point) for point in members if point]):
            schedule = self.space.schedule(near)
            if schedule not in self.cached and schedule.key not in seen:
                seen.add(schedule.key)
                yield near

    def _free_moves(self) -> None:
        """Moves, splits and merges steps of the front's staircases, as long as there are trials."""
        still = Standstill()
        while len(self.cached.candidates) < self.trials and not still.sees(self._front_costs()):
            moved = _in_turn([moves_of(schedule) for schedule in self._front()])
            new = list(islice(self._worth_moving(moved), GENERATION))
            if not new:
                return
            for one in self.cached.forecast_all(new[: self.trials - len(self.cached.candidates)]):
                self._tell_of(one)

    def _worth_moving(self, moved: Iterator[Schedule]) -> Iterator[Schedule]:
        new = {schedule.key: schedule for schedule in moved if schedule not in self.cached}
        if self.surrogate:
            self.surrogate.keep([*new.values(), *(one.schedule for one in self.cached.candidates)])
            for one in self.surrogate.promising(self.cached.candidates, self._best(), PROMISING):
                yield new.pop(one.key)
        yield from new.values()

    def _tell_of(self, one: Candidate) -> None:
        """The study hears of a schedule that is not in its space."""
        excess = {str(limit): limit.excess(one.forecast) for limit in self.goals.limits}
        self.study.add_trial(
            create_trial(
                values=self.goals.costs(one.forecast),
                user_attrs={"schedule": one.schedule.key},
                constraints=excess,
            )
        )

    def _best(self) -> tuple[int, ...]:
        return pareto_front(self.cached.candidates, self.goals)

    def _front(self) -> list[Schedule]:
        return [self.cached.candidates[number].schedule for number in self._best()]

    def _front_costs(self) -> list[tuple[float, ...]]:
        """Of the front, if it is within the limits."""
        best = [self.cached.candidates[number].forecast for number in self._best()]
        return [self.goals.costs(one) for one in best if self.goals.keeps(one)]


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
    forecaster: Forecaster,
    profile_hashes: Mapping[str, str],
    on_trial: Callable[[], None] = lambda: None,
    store: TrialStore = NO_STORE,
    backend: Backend | None = None,
    held_out: ScheduleForecaster | None = None,
) -> Plan:
    """Searches for the schedules that nobody beats in the scenario's objectives.

    The same seed gives the same candidates. Baselines are tried first. What ``store`` recalls is
    not forecast again. ``backend`` makes the forecasts, ``forecaster`` itself if there is none.
    ``held_out`` forecasts the front on requests that the search did not see.

    Raises:
        PlanError: an objective is not known, or no schedule is within the limits.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec, space = scenario.plan, Space(forecaster.pipeline, scenario.plan)
    backend = backend or LocalBackend(forecaster)
    goals, cached = (
        Goals.of(spec, forecaster.knows_quality, bool(forecaster.pipeline.inputs)),
        CachedForecasts(backend, store, on_trial),
    )
    baselines = [
        uniform(forecaster.pipeline, staircase, layout)
        for layout in spec.layouts
        for staircase in (normal(), paper_staircase(spec))
    ]
    for one in cached.forecast_all(baselines):
        goals.check(one.forecast)
    study = optuna.create_study(
        directions=[StudyDirection.MINIMIZE] * len(goals.objectives),
        sampler=make_sampler(spec.sampler, spec.seed),
    )
    sketch = forecaster.sketch()
    surrogate = Surrogate(backend.sharing(sketch), goals) if sketch else None
    Search(space, goals, cached, study, spec.trials, surrogate, seed=spec.seed).run()
    held_out_backend = backend.forecasting_by(held_out) if held_out else None
    held = _held_out(held_out_backend, cached.candidates, goals, spec.held_out.margin)
    return _plan(scenario, goals, cached.candidates, profile_hashes, held)


def _held_out(
    held_out_backend: Backend | None, candidates: Sequence[Candidate], goals: Goals, margin: float
) -> tuple[HeldOut, ...]:
    """The front, or some of it from end to end, if any of it is within the limits.

    ``held_out_backend`` forecasts requests that the search did not see; without it nothing is
    found.
    """
    if not held_out_backend:
        return ()
    front = [n for n in pareto_front(candidates, goals) if goals.keeps(candidates[n].forecast)]
    shown = spread_out(front, MOST_HELD_OUT)
    forecasts = held_out_backend.forecast([candidates[number].schedule for number in shown])
    return hold_out(shown, forecasts, goals.tightened(margin))


def _plan(
    scenario: Scenario,
    goals: Goals,
    candidates: list[Candidate],
    profile_hashes: Mapping[str, str],
    held_out: tuple[HeldOut, ...],
) -> Plan:
    spec, pipeline = scenario.plan, scenario.pipeline.build()
    chosen = choose(candidates, goals, held_out)
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
        reading_rate=spec.reading_rate,
        profile_hashes=dict(profile_hashes),
        provenance=provenance_of_now(spec.model_dump(mode="json", exclude={"storage"})),
        held_out=held_out,
    )
