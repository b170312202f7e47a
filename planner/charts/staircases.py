"""Staircases as played: tokens read of each source against tokens written by the reader."""

from __future__ import annotations

from typing import Any

import altair as alt

from planner.charts.dataset import Dataset, dataset, with_columns
from planner.charts.picked import is_shown, picked_rows
from planner.charts.style import NAMES, Style, schedule_hue
from planner.figures.json_pointers import Figures, place_of

SPAN = {"own": "written", "wrote": "output_tokens", "sources": "read", "step": "step"}
MEMBER = {"own": "written", "wrote": "output_tokens", "read": "read", "number": "number"}
HEIGHT = 330
ACROSS = "tokens that {} has written"


def staircase_chart(figures: Figures, style: Style) -> Any:
    """Of the named schedules, the area below the choice's, and of the front's picked member."""
    agent = figures.value("plan/explanation/answer")
    spans, members = _spans(figures, agent), picked_rows(figures, "steps", MEMBER)
    named = alt.Chart(spans.data).transform_calculate(
        read="datum.sources.length ? max(extent(datum.sources)[1], 0) : 0"
    )
    other = (
        alt.Chart(members.data)
        .transform_filter(is_shown(style))
        .transform_flatten(["own", "wrote", "read"])
    )
    named, other = (
        one.transform_calculate(end="datum.own + datum.wrote").encode(
            x=alt.X("own:Q", title=ACROSS.format(agent)),
            y=alt.Y("read:Q", title="tokens read of each source"),
            color=schedule_hue(style, (*NAMES, "picked")),
        )
        for one in (named, other)
    )
    tip = [
        alt.Tooltip("schedule:N"),
        alt.Tooltip("step:O"),
        alt.Tooltip("read:Q", title="has read"),
        alt.Tooltip("wrote:Q", title="writes"),
    ]
    tread = named.transform_filter("datum.schedule === 'chosen'").mark_rect(
        opacity=0.14, fill=style.colour("good")
    )
    layers = [
        tread.encode(x2="end:Q", y2=alt.datum(0), tooltip=tip),
        _line(named).encode(strokeDash=_dash()),
        _line(other),
    ]
    chart = alt.layer(*layers)
    return with_columns(style.sized(chart, HEIGHT), (spans, members))


def _spans(figures: Figures, agent: str) -> Dataset:
    found = []
    for name in NAMES:
        keys = ("plan", "explanation", "timelines", name, "spans")
        for number, span in enumerate(figures.value(place_of(*keys))):
            if span["agent"] == agent:
                found.append((place_of(*keys, number), {"schedule": name}))
    return dataset(figures, "spans", SPAN, found)


def _line(chart: alt.Chart) -> Any:
    """Each step from its beginning to its end; the rise to the next one between them."""
    return (
        chart.transform_calculate(corners="[datum.own, datum.end]")
        .transform_flatten(["corners"])
        .transform_window(corner="row_number()", groupby=["schedule"])
        .mark_line(strokeWidth=2.2, strokeJoin="round")
        .encode(x=alt.X("corners:Q"), order="corner:Q")
    )


def _dash() -> Any:
    return alt.condition("datum.schedule === 'normal'", alt.value([5, 4]), alt.value([1, 0]))
