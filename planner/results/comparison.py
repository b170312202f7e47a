"""How measured schedules stand to the baselines: better, worse or tied in each objective."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from planner.figures.objectives import Objective
from staircase.metrics.request_metrics import Summary

BASELINES = ("normal", "paper default")

# Nats a token: what rounding makes of texts that are the same. Shown figures have three decimals.
NEGLIGIBLE = {"loss": 1e-4}

Measured = Mapping[str, Summary]


@dataclass(frozen=True)
class Comparison:
    """A schedule beside a baseline, by the objectives that were measured.

    Attributes:
        tied: the means' intervals meet, or what lies between them is negligible.
    """

    name: str
    baseline: str
    better: tuple[str, ...]
    worse: tuple[str, ...]
    tied: tuple[str, ...]

    @property
    def beats(self) -> bool:
        """Whether it is better in some and worse in none."""
        return bool(self.better) and not self.worse


def comparisons(
    rows: Mapping[str, Measured], objectives: Sequence[Objective]
) -> Iterator[Comparison]:
    """Of every schedule of ``rows`` (by name) that is no baseline, to each that is."""
    for baseline in BASELINES:
        for name, measured in rows.items():
            if name not in BASELINES:
                yield _comparison(name, measured, baseline, rows[baseline], objectives)


def _comparison(
    name: str, ours: Measured, baseline: str, theirs: Measured, objectives: Sequence[Objective]
) -> Comparison:
    found: dict[str, list[str]] = {"better": [], "worse": [], "tied": []}
    for objective in objectives:
        if objective.is_known(ours) and objective.is_known(theirs):
            found[_compared(objective, ours, theirs)].append(objective.name)
    return Comparison(name, baseline, *(tuple(found[key]) for key in ("better", "worse", "tied")))


def _compared(objective: Objective, ours: Measured, theirs: Measured) -> str:
    one, two = ours[objective.metric], theirs[objective.metric]
    # Of single requests, which have no interval, nothing can be told.
    apart = one.low > two.high or two.low > one.high
    if objective.is_of_mean and not apart:
        return "tied"
    more = objective.cost(ours) - objective.cost(theirs)
    if abs(more) <= NEGLIGIBLE.get(objective.word, 0.0):
        return "tied"
    return "worse" if more > 0 else "better"
