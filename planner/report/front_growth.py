"""How the front grew while the search went on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.figures.front import corner_of, front_of, hypervolume
from planner.figures.objectives import Goals
from planner.results.explanation import FrontGrowth
from planner.results.plans import Candidate, spread_out

# Of more objectives a hypervolume takes seconds.
MOST_OBJECTIVES = 3
# So many fronts are looked at.
MOST_FRONTS = 60

Points = list[tuple[float, ...]]


def front_growth(candidates: Sequence[Candidate], goals: Goals) -> tuple[FrontGrowth, ...]:
    """Of the candidates within the limits, or of all if none is; the last one is the end.

    Hypervolumes are beneath the worst of all in every objective. Nothing where there are more
    objectives than three.
    """
    costs = {n: tuple(goals.costs(one.forecast)) for n, one in enumerate(candidates)}
    known = {n: cost for n, cost in costs.items() if np.all(np.isfinite(cost))}
    within = {n: cost for n, cost in known.items() if goals.keeps(candidates[n].forecast)} or known
    if not within or len(goals.objectives) > MOST_OBJECTIVES:
        return ()
    fronts = _fronts(within)
    corner = corner_of(list(within.values()))
    shown = spread_out(list(fronts), MOST_FRONTS)
    volumes = {number: hypervolume(fronts[number], corner) for number in shown}
    whole = volumes[shown[-1]] or 1.0
    growth = [FrontGrowth(number + 1, volume / whole) for number, volume in volumes.items()]
    if growth[-1].simulated < len(candidates):
        growth.append(FrontGrowth(len(candidates), growth[-1].hypervolume))
    return tuple(growth)


def _fronts(costs: dict[int, tuple[float, ...]]) -> dict[int, Points]:
    """The front after each candidate that joined it, by the candidate's number."""
    fronts: dict[int, Points] = {}
    front: Points = []
    for number, cost in costs.items():
        points = [*front, cost]
        best = [points[place] for place in front_of(points)]
        if best != front:
            fronts[number] = front = best
    return fronts
