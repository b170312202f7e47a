"""The Pareto front: every schedule that was simulated, in two of its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
from pydantic import TypeAdapter

from planner.charts.dataset import Dataset, dataset, with_columns
from planner.charts.picked import is_shown, picking
from planner.charts.style import SCHEDULES, Style
from planner.figures.axis import Axis, axes_of
from planner.figures.describing import phrase_of
from planner.figures.json_pointers import Figures, place_of
from staircase.schedule import Schedule

HEIGHT = 320
# So many times the smallest figure, the largest one asks for a logarithmic axis.
MANY = 12
KINDS = {"simulated": "grey", "on the front": "main", **SCHEDULES}
del KINDS["picked"]
SIZES = {kind: {"simulated": 26, "on the front": 75}.get(kind, 130) for kind in KINDS}
PICKED_SIZE = 170
CROSS = "M-1,-1L1,1M-1,1L1,-1"
SCHEDULE = TypeAdapter(Schedule)


def front_chart(figures: Figures, style: Style) -> Any:
    """Forecasts as dots, the front joined, the named schedules marked; measurements as crosses.

    A click on a dot of the front picks it (``planner.charts.picked``).
    """
    across, up = axes_of(figures)
    dots, crosses = _candidates(figures, across, up), _measured(figures, across, up)
    x, y = (_scaled(axis, key, (dots, crosses)) for axis, key in ((across, "x"), (up, "y")))
    tips = [
        alt.Tooltip("x:Q", title=across.words, format=".4~g"),
        alt.Tooltip("y:Q", title=up.words, format=".4~g"),
    ]
    layers = (
        _joined(alt.Chart(dots.data).encode(x=x, y=y), style),
        picking(style, _points(alt.Chart(dots.data).encode(x=x, y=y), style, tips)),
        _crosses(alt.Chart(crosses.data).encode(x=x, y=y), style, crosses, tips),
    )
    return with_columns(style.sized(alt.layer(*layers), HEIGHT), (dots, crosses))


def _joined(chart: alt.Chart, style: Style) -> Any:
    """The line through the members of the front."""
    members = chart.transform_filter("datum.is_front === 'yes'")
    line = members.mark_line(color=style.colour("main"), strokeWidth=1.5, opacity=0.6)
    return line.encode(order="x:Q")


def _points(chart: alt.Chart, style: Style, tips: list[alt.Tooltip]) -> Any:
    """All candidates; the one that is picked has a ring."""
    ring, none = alt.value(style.colour("violet")), alt.value("transparent")
    return (
        chart.transform_calculate(size=f"{is_shown(style)} ? {PICKED_SIZE} : {SIZES}[datum.kind]")
        .mark_point(filled=True, opacity=1, cursor="pointer", strokeWidth=3)
        .encode(
            color=alt.Color("kind:N", scale=style.scale(KINDS), legend=style.legend),
            size=alt.Size("size:Q", scale=None),
            stroke=alt.condition(is_shown(style), ring, none),
            tooltip=[alt.Tooltip("kind:N"), alt.Tooltip("staircase:N"), *tips],
        )
    )


def _crosses(chart: alt.Chart, style: Style, found: Dataset, tips: list[alt.Tooltip]) -> Any:
    """What was measured."""
    colours = alt.Stroke("schedule:N", scale=_measured_scale(style, found), legend=None)
    return chart.mark_point(shape=CROSS, size=60, strokeWidth=2, filled=False, opacity=1).encode(
        stroke=colours, tooltip=[alt.Tooltip("schedule:N", title="measured"), *tips]
    )


def _measured_scale(style: Style, crosses: Dataset) -> alt.Scale:
    names = [row["schedule"] for row in crosses.rows]
    return style.scale({name: SCHEDULES.get(name, "main") for name in names})


def _candidates(figures: Figures, across: Axis, up: Axis) -> Dataset:
    """Those that are named come last, over the others."""
    count = figures.value("plan/candidates/#")
    front = set(figures.value("plan/front"))
    named = {
        figures.value(f"plan/{name.split()[0]}"): name for name in SCHEDULES if name != "picked"
    }
    kinds = {n: named.get(n, "on the front" if n in front else "simulated") for n in range(count)}
    order = sorted(kinds, key=lambda n: list(KINDS).index(kinds[n]))
    columns = {
        "x": across.place("forecast"),
        "y": up.place("forecast"),
    }
    found = dataset(
        figures,
        "candidates",
        columns,
        (
            (place_of("plan", "candidates", n), {"kind": kinds[n], "is_front": _yes(n in front)})
            for n in order
        ),
    )
    told = [{**row, **_staircase(figures, n)} for n, row in zip(order, found.rows, strict=True)]
    return Dataset(found.name, columns, told)


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _staircase(figures: Figures, number: int) -> dict[str, Any]:
    """The schedule in words, with the places of the numbers in them, and the candidate's number."""
    keys = ("plan", "candidates", number, "schedule")
    schedule = SCHEDULE.validate_python(figures.value(place_of(*keys)))
    phrase = phrase_of(schedule, figures.value("plan/explanation/answer"))
    places = [place_of(*keys, *way) for way in phrase.keys]
    return {
        "number": number,
        "staircase": figures.words(phrase.template, places),
        "staircase_at": " ".join(places),
    }


def _measured(figures: Figures, across: Axis, up: Axis) -> Dataset:
    """Of the validation's rows that have both figures."""
    columns = {
        "schedule": "name",
        "x": across.place("measured"),
        "y": up.place("measured"),
    }
    return dataset(figures, "measured", columns, _measured_rows(figures, across, up))


def _measured_rows(
    figures: Figures, across: Axis, up: Axis
) -> Iterator[tuple[str, dict[str, str]]]:
    rows = (figures.value("validation") or {}).get("rows", [])
    for number, row in enumerate(rows):
        if {across.metric, up.metric} <= row["measured"].keys():
            yield place_of("validation", "rows", number), {}


def _scaled(axis: Axis, key: str, datasets: Sequence[Dataset]) -> Any:
    """From 0; by the logarithm where the largest is many times the smallest."""
    values = [row[key] for one in datasets for row in one.rows if row[key] is not None]
    least, most = min(values, default=0.0), max(values, default=1.0)
    scale = alt.Scale(zero=True, nice=True)
    if least > 0 and most / least > MANY:
        scale = alt.Scale(type="log", nice=False, domain=[least / 1.15, most * 1.15])
    title = f"forecast {axis.words}"
    kind = alt.X if key == "x" else alt.Y
    return kind(f"{key}:Q", title=title, scale=scale)
