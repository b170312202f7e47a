"""Which schedules are worth simulating next: a sketch of all, set right by what was simulated.

The sketch (``simulator.analytic.sketch``) says in a second or so what thousands of schedules would
come to if nobody else were there. What was simulated since tells how far off it is: a ridge
regression on the sketch's figures says how much of that is general, radial basis functions
(scipy's) what is left near each schedule that was simulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from planner.figures.metric_table import METRICS
from planner.figures.objectives import Goals, Objective
from planner.results.plans import Candidate
from planner.search.cached_forecasts import Sketcher
from staircase.bounds import MOST_SAMPLES, MOST_TOKENS
from staircase.metrics.request_metrics import Floats
from staircase.schedule import Schedule

# Added to times before their logarithm is taken, in seconds.
LEAST_S = 0.05
# How strongly the regression keeps to the sketch.
RIDGE = 0.3
# Of what was simulated, so many neighbours say what is left at a schedule.
NEAR = 40
SMOOTHING = 0.1
# So many of the usual errors better than predicted a schedule may be: it is tried to know.
HOPE = 0.3
Ints = NDArray[np.int64]


@dataclass
class Surrogate:
    """Predicts figures of schedules.

    Attributes:
        schedules, names: those that it knows, and the places of their keys.
    """

    sketch: Sketcher
    goals: Goals
    schedules: list[Schedule] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    _figures: dict[str, Floats] = field(default_factory=dict)
    _features: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, schedules: Sequence[Schedule]) -> None:
        """Sketches those that it does not know yet."""
        new = {one.key: one for one in schedules if one.key not in self.names}
        if not new:
            return
        added = self.sketch.of(list(new.values()))
        for name, schedule in new.items():
            self.names[name] = len(self.schedules)
            self.schedules.append(schedule)
        before = self._figures
        self._figures = {
            name: np.concatenate([before[name], column]) if before else column
            for name, column in added.items()
        }
        self._features = self._all_features()

    def keep(self, schedules: Sequence[Schedule]) -> None:
        """Knows these, and no others."""
        wanted = {one.key: one for one in schedules}
        self.add(list(wanted.values()))
        rows = [self.names[name] for name in wanted]
        self.schedules = list(wanted.values())
        self.names = {name: row for row, name in enumerate(wanted)}
        self._figures = {name: column[rows] for name, column in self._figures.items()}
        self._features = self._all_features()

    def _all_features(self) -> Floats:
        """[schedules, features]: the sketch's figures, and what it does not see, in like scales."""
        figures = [_scaled(name, column) for name, column in self._figures.items()]
        options = [
            (s.layout, repr(s.barrier), s.reading, s.starve, s.revision, s.without, *_numbers(s))
            for s in self.schedules
        ]
        kinds = list(zip(*options, strict=True))
        seen = [[one == value for one in kind] for kind in kinds for value in sorted(set(kind))]
        columns = np.array([*figures, *seen], dtype=float).T
        spread = columns.std(axis=0)
        return np.asarray((columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0))

    def promising(
        self, known: Sequence[Candidate], front: Sequence[int], most: int
    ) -> list[Schedule]:
        """Those not ``known`` that are predicted to go furthest beyond the ``front`` of the known.

        They are predicted within the limits, and each goes beyond the others too.
        """
        self.add([one.schedule for one in known])
        tried = {self.names[one.schedule.key]: one for one in known}
        rows = np.setdiff1d(np.arange(len(self.schedules)), np.array([*tried], dtype=int))
        if not len(rows):
            return []
        costs = np.array([self._hoped(one, tried, rows) for one in self.goals.objectives]).T
        beaten = np.array([self.goals.costs(known[number].forecast) for number in front])
        scale = np.maximum(np.ptp(beaten, axis=0), 1e-3 * np.abs(beaten).max(axis=0) + 1e-9)
        beyond = _beyond(costs, beaten, scale)
        for limit in self.goals.limits:
            beyond[self._hoped(limit.objective, tried, rows) > limit.cost] = 0.0
        picked: list[Schedule] = []
        while len(picked) < most and np.any(beyond > 0):
            place = int(np.argmax(beyond))
            picked.append(self.schedules[rows[place]])
            beyond = np.minimum(beyond, _beyond(costs, costs[[place]], scale))
        return picked

    def _hoped(self, objective: Objective, tried: Mapping[int, Candidate], rows: Ints) -> Floats:
        """What the objective costs at ``rows``, a share of the usual error better than expected."""
        places = np.array([*tried], dtype=int)
        costs = np.array([objective.cost(one.forecast) for one in tried.values()])
        places, costs = places[np.isfinite(costs)], costs[np.isfinite(costs)]
        own = self._figures.get(objective.metric)
        base = np.zeros(len(self.schedules)) if own is None else _scaled(objective.metric, own)
        left = _scaled(objective.metric, costs) - base[places]
        weights = _ridge(self._features[places], left)
        left -= _linear(self._features[places], weights)
        guess = base[rows] + _linear(self._features[rows], weights)
        if len(places) > 2 and np.any(left):
            features, count = self._features, min(NEAR, len(places))
            near = RBFInterpolator(
                features[places], left, neighbors=count, kernel="linear", smoothing=SMOOTHING
            )
            guess += near(features[rows])
        return _unscaled(objective.metric, guess - HOPE * float(np.std(left)))


def _numbers(schedule: Schedule) -> tuple[int, int, str]:
    checked = MOST_TOKENS + 1 if schedule.checked is None else schedule.checked
    return schedule.at_once or MOST_SAMPLES, checked, schedule.show


def _beyond(costs: Floats, front: Floats, scale: Floats) -> Floats:
    """How far each row goes beyond the front in the objective in which it does most; 0 if it does
    not: the least over the front's members."""
    gains = (front[None] - costs[:, None]) / scale
    return np.asarray(np.maximum(gains.max(axis=2).min(axis=1), 0.0))


def _scaled(metric: str, values: Floats) -> Floats:
    return np.log(values + LEAST_S) if METRICS[metric].is_time else values


def _unscaled(metric: str, values: Floats) -> Floats:
    return np.exp(values) - LEAST_S if METRICS[metric].is_time else values


def _ridge(features: Floats, values: Floats) -> Floats:
    rows = np.column_stack([np.ones(len(features)), features])
    penalty = np.diag([0.0, *[RIDGE] * features.shape[1]])
    found = np.linalg.lstsq(rows.T @ rows + penalty, rows.T @ values, rcond=None)[0]
    return np.asarray(found, dtype=np.float64)


def _linear(features: Floats, weights: Floats) -> Floats:
    return np.asarray(weights[0] + features @ weights[1:])
