"""SVG in the house style: scales, axes, texts. The page that holds it has the style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 640
MARGIN = 48
GREY_TEXT = 'class="axis"'


@dataclass(frozen=True)
class Scale:
    """Maps ``low``..``high`` to pixels ``start``..``stop``."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return self.start + (value - self.low) / span * (self.stop - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        return [self.low + (self.high - self.low) * n / (count - 1) for n in range(count)]


@dataclass(frozen=True)
class LogScale(Scale):
    """The same by the logarithm; ``low`` is above 0."""

    def __call__(self, value: float) -> float:
        span = math.log(self.high / self.low) or 1.0
        return self.start + math.log(value / self.low) / span * (self.stop - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Powers of ten; where that is less than ``count``, 2 and 5 of each too."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1,), (1, 2, 5)):
            found = [step * 10.0**decade for decade in decades for step in steps]
            inside = [tick for tick in found if self.low <= tick <= self.high]
            if len(inside) >= count:
                break
        return inside


def axes(x: Scale, y: Scale, height: int, across: str, up: str) -> list[str]:
    lines = [
        text(x.stop, height - 4, f"{across} →", "end"),
        f'<text {GREY_TEXT} transform="translate(12 {y.stop}) rotate(-90)" text-anchor="end">'
        f"{escape(up)} →</text>",
    ]
    for tick in y.ticks():
        place = f'y1="{y(tick):.1f}" y2="{y(tick):.1f}"'
        lines.append(f'<line class="grid" x1="{x.start}" x2="{x.stop}" {place}/>')
        lines.append(text(x.start - 4, y(tick) + 4, _number(tick), "end"))
    return lines + [text(x(tick), height - 20, _number(tick), "middle") for tick in x.ticks()]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return (
        f'<text {GREY_TEXT} text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
    )


def svg(height: float, body: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(body)}</svg>"
    )
