"""Where TTFT goes: each one as a bar of its parts, with a mark where its bound would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from planner.charts.dataset import Dataset, dataset, with_columns
from planner.charts.style import Style
from planner.figures.json_pointers import Figures

ROW = 46
# Colours of roles: the first layers, then these again.
LAYERS = ("main", "violet", "warm")
FADED = {
    "fixed": 0.25,
    "rest": 0.25,
    "queue": 0.42,
    "prefill": 0.68,
    "think": 0.55,
    "decode": 1.0,
    "arrive": 0.55,
}


@dataclass(frozen=True)
class Bar:
    """Words, the place of a ``TtftParts``, and of its bound if there is one."""

    words: str
    place: str
    bound: str | None = None


def role_colour(role: str) -> str:
    """The name of the colour."""
    if role.startswith("layer "):
        return LAYERS[(int(role.split()[1]) - 1) % len(LAYERS)]
    return {"answer": "good", "proposers": "main"}.get(role, "grey")


def ttft_chart(figures: Figures, style: Style, bars: Sequence[Bar]) -> Any:
    """Bars of one length, whatever TTFT they stand for."""
    order = [bar.words for bar in bars]
    y = alt.Y("bar:N", sort=order, scale=alt.Scale(domain=order), axis=None)
    parts, totals = _parts(figures, bars), _totals(figures, bars)
    bounds = [one for bar in bars if bar.bound for one in [_bound(figures, bar)]]
    layers = [_stack(parts, style, y), *_heads(totals, style, y)]
    layers += [_mark(one, style, y) for one in bounds]
    chart = style.sized(alt.layer(*layers), ROW * len(bars))
    return with_columns(chart, (parts, totals, *bounds))


def _parts(figures: Figures, bars: Sequence[Bar]) -> Dataset:
    columns = {"role": "role", "phase": "phase", "ms": "mean_s*1000"}
    entries = [
        (f"{bar.place}/parts/{number}", {"bar": bar.words})
        for bar in bars
        for number in range(figures.value(f"{bar.place}/parts/#"))
    ]
    return dataset(figures, "parts", columns, entries)


def _totals(figures: Figures, bars: Sequence[Bar]) -> Dataset:
    entries = [(bar.place, {"bar": bar.words}) for bar in bars]
    return dataset(figures, "totals", {"ms": "ttft_s*1000"}, entries)


def _bound(figures: Figures, bar: Bar) -> Dataset:
    assert bar.bound
    columns = {"ms": "ttft_s*1000", "whole": f"/{bar.place}/ttft_s*1000"}
    return dataset(figures, f"bound of {bar.words}", columns, [(bar.bound, {"bar": bar.words})])


def _stack(parts: Dataset, style: Style, y: alt.Y) -> Any:
    roles = {row["role"]: role_colour(row["role"]) for row in parts.rows}
    return (
        alt.Chart(parts.data)
        .transform_window(part="row_number()")
        .transform_calculate(opacity=f"{FADED}[datum.phase]")
        .mark_bar(height=16, yOffset=8)
        .encode(
            x=alt.X("ms:Q", stack="normalize", axis=None),
            y=y,
            order="part:Q",
            color=alt.Color("role:N", scale=style.scale(roles), legend=style.legend),
            opacity=alt.Opacity("opacity:Q", scale=None),
            tooltip=["role:N", "phase:N", alt.Tooltip("ms:Q", title="ms", format=".1f")],
        )
    )


def _heads(totals: Dataset, style: Style, y: alt.Y) -> list[alt.Chart]:
    """The words above a bar, and what it stands for."""
    base = alt.Chart(totals.data).encode(y=y)
    soft = style.colour("soft")
    look: dict[str, Any] = {"baseline": "bottom", "dy": -4, "fontSize": 12, "color": soft}
    told = base.transform_calculate(told="format(datum.ms, ',.4~r') + ' ms'")
    return [
        base.mark_text(align="left", **look).encode(x=alt.value(0), text="bar:N"),
        told.mark_text(align="right", **look).encode(x=alt.value("width"), text="told:N"),
    ]


def _mark(bound: Dataset, style: Style, y: alt.Y) -> Any:
    return (
        alt.Chart(bound.data)
        .transform_calculate(share="datum.whole ? min(1, datum.ms / datum.whole) : 0")
        .mark_tick(color=style.colour("ink"), thickness=2, bandSize=18, yOffset=8)
        .encode(
            x="share:Q",
            y=y,
            tooltip=[alt.Tooltip("ms:Q", title="with nothing in the way, ms", format=".1f")],
        )
    )
