"""The answer's tokens over time, each schedule with the dotted line of its reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import altair as alt

from planner.charts.dataset import dataset, with_columns
from planner.charts.picked import is_shown, picked_rows
from planner.charts.style import NAMES, Style, schedule_hue
from planner.figures.json_pointers import Figures

HEIGHT = 280
# The chart ends so much after the last token; a slow reader's line goes on beyond it.
WIDER = 1.25
# Of so many tokens of an answer something is told.
TOLD = 80
MS = 1e-9  # of a picosecond
# Between tokens all of which are known, and between some of them.
Rise = Literal["step-after", "linear"]
RATE = "/plan/reading_rate"
MEMBER = {"tokens": "tokens", "times": "answer_ps", "number": "number", "rate": RATE}


def tokens_chart(
    figures: Figures, style: Style, places: Mapping[str, str], has_picked: bool = True
) -> Any:
    """Tokens that are there against milliseconds; dotted, what a smooth reader has read.

    Args:
        places: of timelines, by the names of schedules.
        has_picked: shows the member of the front that is picked, too.
    """
    entries = [(place, {"schedule": name}) for name, place in places.items()]
    named = dataset(figures, "answers", {"times": "answer_ps", "rate": RATE}, entries)
    data = [named, *([picked_rows(figures, "tokens", MEMBER)] if has_picked else [])]
    last = max((max(row["times"], default=0) for row in named.rows), default=0) * MS
    until = max(last, 1) * WIDER
    all_tokens = (
        alt.Chart(named.data)
        .transform_flatten(["times"])
        .transform_window(tokens="row_number()", groupby=["schedule"])
    )
    layers = _lines(_timed(all_tokens), style, until, "step-after")
    if has_picked:
        member = alt.Chart(data[1].data).transform_filter(is_shown(style))
        some_tokens = member.transform_flatten(["tokens", "times"])
        layers += _lines(_timed(some_tokens), style, until, "linear")
    return with_columns(style.sized(alt.layer(*layers), HEIGHT), data)


def _timed(chart: alt.Chart) -> alt.Chart:
    """When each token was there, and when a reader who begins at the smooth start takes it."""
    return (
        chart.transform_calculate(
            ms=f"datum.times * {MS:g}", reading="(datum.tokens - 1) * 1000 / datum.rate"
        )
        .transform_calculate(slack="datum.ms - datum.reading")
        .transform_joinaggregate(smooth_start="max(slack)", count="count()", groupby=["schedule"])
        .transform_calculate(read_at="datum.smooth_start + datum.reading")
    )


def _lines(chart: alt.Chart, style: Style, until: float, rise: Rise) -> list[alt.Chart]:
    time = alt.X(
        "ms:Q",
        title="ms since the request's arrival",
        scale=alt.Scale(domain=[0, until], nice=False),
    )
    tips = [
        alt.Tooltip("schedule:N"),
        alt.Tooltip("tokens:Q", title="token"),
        alt.Tooltip("ms:Q", title="there at, ms", format=".0f"),
    ]
    there = chart.encode(
        x=time,
        y=alt.Y("tokens:Q", title="tokens of the answer"),
        color=schedule_hue(style, (*NAMES, "picked")),
        order="tokens:Q",
    )
    told = there.transform_filter(f"datum.tokens % ceil(datum.count / {TOLD}) === 0")
    reader = there.encode(x=alt.X("read_at:Q"))
    return [
        reader.mark_line(strokeWidth=1.3, strokeDash=[1, 4], strokeCap="round", clip=True),
        there.mark_line(strokeWidth=2.2, strokeJoin="round", interpolate=rise),
        told.mark_point(opacity=0, size=80).encode(tooltip=tips),
    ]
