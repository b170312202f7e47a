"""SVG in the house style: scales, axes, texts. The page that holds it has the style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 460
MARGIN = 50


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
        """Round numbers, about ``count``."""
        span = (self.high - self.low) or 1.0
        power = 10.0 ** math.floor(math.log10(span / count))
        step = next(s * power for s in (1, 2, 5, 10) if span / (s * power) <= count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


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


def axes(
    x: Scale, y: Scale, height: float, across: str, up: str, at: tuple[str, str] = ("", "")
) -> list[str]:
    """Both axes with their words; ``at`` names the places of figures that the words hold."""
    lines = [
        text(x.stop, height - 4, f"{across} →", "end", at=at[0]),
        text(4, y.stop - 8, f"↑ {up}", at=at[1]),
    ]
    for tick in y.ticks():
        place = f'y1="{y(tick):.1f}" y2="{y(tick):.1f}"'
        lines.append(f'<line class="grid" x1="{x.start:.1f}" x2="{x.stop:.1f}" {place}/>')
        lines.append(scale_text(x.start - 5, y(tick) + 4, tick, "end"))
    return lines + [scale_text(x(tick), y.start + 16, tick, "middle") for tick in x.ticks()]


def scale_text(x: float, y: float, value: float, anchor: str) -> str:
    words = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text(x, y, words, anchor, kind="axis scale")


def text(
    x: float, y: float, words: str, anchor: str = "start", kind: str = "axis", at: str = ""
) -> str:
    where = f'class="{kind}" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}"'
    places = f' data-at="{escape(at)}"' if at else ""
    return f"<text {where}{places}>{escape(words)}</text>"


def tip(words: str, at: Sequence[str]) -> str:
    """What is told of the element that it stands in when somebody points at it."""
    return f'<title data-at="{escape(" ".join(at))}">{escape(words)}</title>'


def svg(height: float, body: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img">{"".join(body)}</svg>'
