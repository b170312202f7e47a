"""Distributions over requests: which share of the requests has no more than a figure."""

from __future__ import annotations

from typing import Any

import altair as alt

from planner.charts.dataset import Dataset, dataset, with_columns
from planner.charts.style import NAMES, Style, schedule_hue
from planner.figures.json_pointers import Figures, place_of
from planner.figures.metric_table import METRICS

HEIGHT = 220
FORECAST, MEASURED = "forecast", "measured"
# A few gaps between tokens are stalls, many times as long as the others.
LOGARITHMIC = ("itl_s",)


def distribution_chart(figures: Figures, style: Style, metric: str) -> Any:
    """Of the named schedules, the forecast's and, dashed, the measured one."""
    forecast = dataset(
        figures,
        "forecast",
        {"quantiles": metric},
        [
            (place_of("plan", "explanation", "distributions", n), _labels(n, FORECAST))
            for n in NAMES
        ],
    )
    rows = (figures.value("validation") or {}).get("rows", [])
    measured = dataset(
        figures,
        "measured",
        {"quantiles": metric},
        [
            (
                place_of("validation", "rows", number, "distributions"),
                _labels(row["name"], MEASURED),
            )
            for number, row in enumerate(rows)
            if row["name"] in NAMES
        ],
    )
    layers = [_lines(one, style, metric) for one in (forecast, measured)]
    return with_columns(style.sized(alt.layer(*layers), HEIGHT), (forecast, measured))


def _labels(name: str, kind: str) -> dict[str, str]:
    return {"schedule": name, "kind": kind}


def _lines(found: Dataset, style: Style, metric: str) -> Any:
    about = METRICS[metric]
    dashes = alt.Scale(domain=[FORECAST, MEASURED], range=[[1, 0], [4, 3]])
    scale = alt.Scale(zero=True)
    positive = "true"
    if metric in LOGARITHMIC:
        scale, positive = alt.Scale(type="log", nice=False), "datum.shown > 0"
    return (
        alt.Chart(found.data)
        .transform_filter("isValid(datum.quantiles)")
        .transform_flatten(["quantiles"])
        .transform_window(place="row_number()", groupby=["schedule", "kind"])
        .transform_joinaggregate(count="count()", groupby=["schedule", "kind"])
        .transform_calculate(
            share="(datum.place - 1) / (datum.count - 1)",
            shown=f"datum.quantiles * {about.factor:g}",
        )
        .transform_filter(positive)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("shown:Q", title=about.row_head.replace(" ms", ", ms"), scale=scale),
            y=alt.Y("share:Q", title="share at or below", axis=alt.Axis(format="%")),
            order="place:Q",
            color=schedule_hue(style),
            strokeDash=alt.StrokeDash("kind:N", scale=dashes, legend=None),
        )
    )
