"""A member of the front that is picked: by a click on its point, other charts show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from planner.charts.dataset import Dataset, dataset
from planner.charts.style import Style
from planner.figures.json_pointers import Figures, place_of

# A page's script sets this signal to the candidate that is shown, or -1.
PICKED = "picked"
# In a notebook, what was clicked in the front's chart.
PICK = "pick"


def picked_rows(figures: Figures, name: str, columns: Mapping[str, str]) -> Dataset:
    """Of every member of the front whose request is kept."""
    keys = ("plan", "explanation", "front")
    count = len(figures.value(place_of(*keys)) or [])
    entries = [(place_of(*keys, number), {"schedule": "picked"}) for number in range(count)]
    return dataset(figures, f"front {name}", columns, entries)


def shown_number(style: Style) -> str:
    """As an expression: the candidate that is shown."""
    return PICKED if style.is_page else f"({PICK}.number ? {PICK}.number[0] : -1)"


def is_shown(style: Style) -> str:
    """Of a row with a ``number``."""
    return f"datum.number === {shown_number(style)}"


def picking(style: Style, chart: Any) -> Any:
    """``chart`` of points that can be clicked."""
    if style.is_page:
        return chart
    pick = alt.selection_point(name=PICK, fields=["number"], toggle=False, on="click", empty=False)
    return chart.add_params(pick)


def picked(chart: Any) -> Any:
    """``chart`` with the signal that a page's script sets."""
    return chart.add_params(alt.param(name=PICKED, value=-1))
