"""How the search went: the front's hypervolume after each schedule that was simulated."""

from __future__ import annotations

from typing import Any

import altair as alt

from planner.charts.dataset import Entry, dataset, with_columns
from planner.charts.style import Style
from planner.figures.json_pointers import Figures

HEIGHT = 150
PLACE = "plan/explanation/growth"


def growth_chart(figures: Figures, style: Style) -> Any:
    """Steps; the last one goes on to the end of the search."""
    entries: list[Entry] = [(f"{PLACE}/{n}", {}) for n in range(figures.value(f"{PLACE}/#") or 0)]
    columns = {"simulated": "simulated", "share": "hypervolume"}
    found = dataset(figures, "growth", columns, entries)
    chart = (
        alt.Chart(found.data)
        .mark_line(interpolate="step-after", strokeWidth=2, color=style.colour("main"))
        .encode(
            x=alt.X(
                "simulated:Q", title="schedules simulated", scale=alt.Scale(zero=True, nice=False)
            ),
            y=alt.Y(
                "share:Q",
                title="of the last front's",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%"),
            ),
            tooltip=[
                alt.Tooltip("simulated:Q"),
                alt.Tooltip("share:Q", title="hypervolume", format=".1%"),
            ],
        )
    )
    return with_columns(style.sized(chart, HEIGHT), [found])
