"""Schedules of several variants beside each other, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from planner.api.variants import Member
from planner.figures.axis import Axis
from planner.figures.describing import describe_schedule
from planner.figures.objectives import parse_objectives


def variants_table(members: Sequence[Member], objectives: Sequence[str], title: str) -> Table:
    """The figures of the objectives, and the schedule."""
    axes = [Axis(objective) for objective in parse_objectives(objectives)]
    names = [f"{axis.objective.name}{axis.unit}" for axis in axes]
    table = Table("variant", *names, "schedule", title=title, title_justify="left")
    for member in members:
        forecast = member.candidate.forecast
        figures = [axis.objective.figure(forecast) * axis.factor for axis in axes]
        cells = [f"{figure:.4g}" for figure in figures]
        table.add_row(member.variant, *cells, describe_schedule(member.candidate.schedule))
    return table
