"""One request: when each agent's calls queue, prefill, think and decode, and inputs arrive."""

from __future__ import annotations

from typing import Any

import altair as alt

from planner.charts.dataset import dataset, with_columns
from planner.charts.style import Style
from planner.figures.json_pointers import Figures

ROW, FOOT = 26, 6
MS = 1e-9  # of a picosecond
PHASES = {
    "queued": "grey",
    "prefill": "warm",
    "thinking": "violet",
    "decode": "main",
    "arriving": "good",
}
ANSWER = "answer"
SPAN = {
    "agent": "agent",
    "step": "step",
    "submitted": "submitted_ps",
    "started": "started_ps",
    "thought": "thought_ps",
    "first": "first_token_ps",
    "ended": "ended_ps",
    "prompt": "prompt_tokens",
}
# Of a call that wrote nothing, all phases end when it does.
READABLE = "isValid(datum.first) ? datum.first : datum.ended"
OUTPUT = "isValid(datum.thought) ? datum.thought : datum.readable"


def request_chart(figures: Figures, style: Style, place: str, until_ms: float) -> Any:
    """The timeline at ``place``; the axis ends at ``until_ms``."""
    spans = [f"{place}/spans/{n}" for n in range(figures.value(f"{place}/spans/#"))]
    calls = dataset(figures, "calls", SPAN, [(at, {}) for at in spans])
    times = dataset(figures, "answer", {"times": "answer_ps"}, [(place, {"agent": ANSWER})])
    agents = list(dict.fromkeys(row["agent"] for row in calls.rows))
    x = alt.X("begin:Q", title="ms", scale=alt.Scale(domain=[0, until_ms], nice=False))
    rows = [*agents, ANSWER]
    y = alt.Y("agent:N", sort=rows, title=None, scale=alt.Scale(domain=rows), axis=_names())
    bars = (
        _phases(alt.Chart(calls.data))
        .mark_bar(height={"band": 0.62})
        .encode(
            x=x,
            x2="end:Q",
            y=y,
            color=alt.Color("phase:N", scale=style.scale(PHASES), legend=style.legend),
            tooltip=[
                alt.Tooltip("agent:N"),
                alt.Tooltip("step:O"),
                alt.Tooltip("phase:N"),
                alt.Tooltip("begin:Q", title="from, ms", format=".1f"),
                alt.Tooltip("end:Q", title="to, ms", format=".1f"),
            ],
        )
    )
    ticks = (
        alt.Chart(times.data)
        .transform_flatten(["times"])
        .transform_calculate(begin=f"datum.times * {MS:g}")
        .mark_tick(color=style.colour("good"), thickness=1, bandSize=16, opacity=1)
        .encode(x=x, y=y)
    )
    chart = style.sized(alt.layer(bars, ticks), ROW * len(rows) + FOOT)
    return with_columns(chart, (calls, times))


def _names() -> alt.Axis:
    return alt.Axis(labelLimit=110, grid=False)


def _phases(chart: alt.Chart) -> alt.Chart:
    """A row for each phase of a call that took time."""
    begins = "[datum.submitted, datum.started, datum.output, datum.readable, datum.submitted]"
    of_model = "[datum.started, datum.output, datum.readable, datum.ended, datum.submitted]"
    of_input = "[datum.submitted, datum.started, datum.output, datum.readable, datum.ended]"
    ends = f"datum.prompt ? {of_model} : {of_input}"
    return (
        chart.transform_calculate(readable=READABLE)
        .transform_calculate(output=OUTPUT)
        .transform_calculate(phase=str(list(PHASES)), begins=begins, ends=ends)
        .transform_flatten(["phase", "begins", "ends"])
        .transform_filter("datum.ends > datum.begins")
        .transform_calculate(begin=f"datum.begins * {MS:g}", end=f"datum.ends * {MS:g}")
    )
