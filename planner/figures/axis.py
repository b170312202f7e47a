"""Figures of forecasts and measurements as reports show them: their place, unit and words."""

from __future__ import annotations

from dataclasses import dataclass

from planner.figures.json_pointers import Figures, place_of
from planner.figures.objectives import Objective, parse_objective

# The other axis of a plan with one objective: the first of these that is not it and is known.
SECONDS = ("smooth_start", "unread", "loss", "e2e", "stall")


@dataclass(frozen=True)
class Axis:
    """A figure of forecasts, as the report shows it."""

    objective: Objective
    at: str = ""

    @property
    def metric(self) -> str:
        return self.objective.metric

    @property
    def factor(self) -> float:
        return self.objective.about.factor

    @property
    def unit(self) -> str:
        return self.objective.about.unit

    @property
    def label(self) -> str:
        return self.objective.about.label

    @property
    def words(self) -> str:
        return f"{self.objective.name.replace('_', ' ')}{self.unit and ', ms'}"

    def place(self, *keys: str | int, statistic: str | None = None) -> str:
        statistic = statistic or self.objective.statistic
        return place_of(*keys, self.metric, statistic, factor=self.factor)


def axes_of(figures: Figures) -> tuple[Axis, Axis]:
    """The plan's first two objectives."""
    words = figures.value("plan/objectives")
    found = [Axis(parse_objective(w), f"plan/objectives/{n}") for n, w in enumerate(words[:2])]
    known = figures.value("plan/candidates/0/forecast")
    others = [Axis(parse_objective(word)) for word in SECONDS]
    found += [one for one in others if one.metric in known and one.metric != found[0].metric]
    return found[0], found[1]
