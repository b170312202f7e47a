"""Latency profiles: prefill by tokens, decode by sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from planner.charts.style import PAGE

HEIGHT = 300
COLOURS = ("main", "warm", "good", "violet", "grey", "soft")
Curve = Sequence[tuple[float, float]]


def curves_chart(curves: Mapping[str, Curve], across: str) -> Any:
    """Milliseconds by size, both by the logarithm, of at most six engines; for a page."""
    rows = [
        {"engine": name, "size": size, "ms": ms}
        for name, curve in curves.items()
        for size, ms in curve
    ]
    scale = PAGE.scale(dict(zip(curves, COLOURS, strict=False)))
    log = alt.Scale(type="log", nice=False)
    return PAGE.sized(
        alt.Chart(alt.InlineData(name="curves", values=rows))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("size:Q", title=across, scale=log, axis=alt.Axis(format="~s")),
            y=alt.Y("ms:Q", title="ms", scale=log, axis=alt.Axis(format="~s")),
            color=alt.Color("engine:N", scale=scale, legend=PAGE.legend),
        ),
        HEIGHT,
    )
