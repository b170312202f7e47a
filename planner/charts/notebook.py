"""Charts as notebooks show them: with legends, several in one figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from planner.charts.front import front_chart
from planner.charts.intervals import ENDS, intervals_chart, measured_intervals
from planner.charts.request import MS, request_chart
from planner.charts.staircases import staircase_chart
from planner.charts.style import NAMES, NOTEBOOK
from planner.charts.tokens import tokens_chart
from planner.figures.axis import Axis
from planner.figures.json_pointers import Figures, place_of
from planner.figures.metric_table import METRICS
from planner.figures.objectives import parse_objective

# What is shown of a validation, as far as it was measured.
KEY = "○ forecast  ● measured, with the mean's 90 % interval"
MEASURED = ("ttft", "smooth_start", "e2e", "loss")


def plan_figure(figures: Figures) -> Any:
    """The front; a click on a point of it shows its staircase and its tokens over time."""
    places = {name: place_of("plan", "explanation", "timelines", name) for name in NAMES}
    return _together(
        {
            "Pareto front": front_chart(figures, NOTEBOOK),
            "The staircase": staircase_chart(figures, NOTEBOOK),
            "Tokens over time": tokens_chart(figures, NOTEBOOK, places),
        }
    )


def validation_figure(figures: Figures) -> Any:
    """Forecast and measurement of every schedule."""
    axes = [Axis(parse_objective(word)) for word in MEASURED]
    known = figures.value("validation/rows/0/measured")
    return _together(
        {
            f"{axis.label}{axis.unit and ', ms'}": measured_intervals(figures, NOTEBOOK, axis)
            for axis in axes
            if axis.metric in known
        },
        KEY,
    )


def comparison_figure(figures: Figures) -> Any:
    """Forecast and measurement of every metric, which are all times."""
    columns = {
        kind: {end: f"{kind}/{end}*1000" for end in ENDS} for kind in ("forecast", "measured")
    }
    return _together(
        {
            f"{METRICS[metric].label}, ms": intervals_chart(
                figures,
                NOTEBOOK,
                [(place_of("comparison", "metrics", metric), {"name": METRICS[metric].label})],
                columns,
            )
            for metric in figures.value("comparison/metrics")
        },
        KEY,
    )


def request_figure(figures: Figures) -> Any:
    """One request: its calls, and the answer's tokens."""
    until_ms = figures.value("request")["completed_ps"] * MS
    return NOTEBOOK.configured(request_chart(figures, NOTEBOOK, "request", until_ms))


def _together(charts: Mapping[str, Any], title: str = "") -> Any:
    titled = [_part(chart).properties(title=title) for title, chart in charts.items()]
    figure = alt.concat(*titled, columns=2, title=title or alt.Undefined)
    return NOTEBOOK.configured(figure.resolve_scale(color="independent", stroke="independent"))


def _part(chart: Any) -> Any:
    """A chart that stands beside others, in which datasets may have the same names."""
    chart.usermeta = alt.Undefined
    for one in (chart, *getattr(chart, "layer", ())):
        if isinstance(one.data, alt.InlineData):
            one.data = alt.InlineData(values=one.data.values)
    return chart
