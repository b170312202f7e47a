"""Numbers as tables and reports print them."""

from __future__ import annotations

import math


def with_interval(mean: float, low: float, high: float) -> str:
    """One half of the interval where both look alike, or else its ends."""
    below, above = number(mean - low), number(high - mean)
    return f"{number(mean)} " + (
        f"±{below}" if below == above else f"({number(low)}–{number(high)})"
    )


def number(value: float) -> str:
    """Three digits or so; an undefined figure is a dash."""
    if math.isnan(value):
        return "–"
    decimals = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{decimals}f}"
