"""Forecast and measured means with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from planner.charts.dataset import Dataset, Entry, dataset, with_columns
from planner.charts.style import Style
from planner.figures.axis import Axis
from planner.figures.json_pointers import Figures

ROW = 30
ENDS = ("mean", "low", "high")
KINDS = {"forecast": "grey", "measured": "main"}


def intervals_chart(
    figures: Figures,
    style: Style,
    entries: list[Entry],
    columns: Mapping[str, Mapping[str, str]],
    title: str | None = None,
) -> Any:
    """A row for each of ``entries``, in which the forecast stands over the measurement.

    Args:
        columns: of forecast and measured, the ways to ``name``, ``mean``, ``low`` and ``high``.
    """
    kinds = [
        dataset(figures, kind, ways, [(at, {**labels, "kind": kind}) for at, labels in entries])
        for kind, ways in columns.items()
    ]
    names = [row["name"] for row in kinds[0].rows]
    layers = [layer for one in kinds for layer in _whiskers(one, style, names, title)]
    chart = style.sized(alt.layer(*layers), ROW * len(names) + 4)
    return with_columns(chart, kinds)


def measured_intervals(figures: Figures, style: Style, axis: Axis, title: str | None = None) -> Any:
    """Of every schedule that was validated, in one figure."""
    entries: list[Entry] = [
        (f"validation/rows/{number}", {}) for number in range(figures.value("validation/rows/#"))
    ]
    ways = {"forecast": ("candidate", "forecast"), "measured": ("measured",)}
    columns = {
        kind: {"name": "name", **{end: axis.place(*keys, statistic=end) for end in ENDS}}
        for kind, keys in ways.items()
    }
    return intervals_chart(figures, style, entries, columns, title)


def _whiskers(one: Dataset, style: Style, names: list[str], title: str | None) -> list[alt.Chart]:
    colour = style.colour(KINDS[one.name])
    offset = alt.YOffset("kind:N", scale=alt.Scale(domain=list(KINDS), paddingOuter=0.55))
    base = (
        alt.Chart(one.data)
        .transform_filter("isValid(datum.mean)")
        .encode(
            y=alt.Y("name:N", sort=names, scale=alt.Scale(domain=names), title=None, axis=_axis()),
            yOffset=offset,
            tooltip=[
                alt.Tooltip("name:N", title="schedule"),
                alt.Tooltip("kind:N"),
                *(alt.Tooltip(f"{key}:Q", format=".4~g") for key in ENDS),
            ],
        )
    )
    x = alt.X("mean:Q", title=title, scale=alt.Scale(zero=True))
    is_open = one.name == "forecast"
    return [
        base.transform_filter("isValid(datum.low)")
        .mark_rule(strokeWidth=2.5, color=colour)
        .encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(
            size=55,
            opacity=1,
            filled=True,
            fill=style.colour("sheet") if is_open else colour,
            stroke=style.colour("soft") if is_open else colour,
            strokeWidth=2,
        ).encode(x=x),
    ]


def _axis() -> alt.Axis:
    return alt.Axis(labelLimit=110, grid=False, offset=8)
