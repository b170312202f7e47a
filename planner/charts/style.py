"""How charts look: colours, fonts, and which colour stands for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt

COLOURS = {
    "ink": "#1c2530",
    "soft": "#5d6977",
    "line": "#e1e5ea",
    "sheet": "#ffffff",
    "main": "#2660a4",
    "warm": "#c2571f",
    "good": "#227a4b",
    "violet": "#7650a8",
    "grey": "#b3bcc6",
}
# The colour of each named schedule; of any other, the last.
SCHEDULES = {"normal": "soft", "paper default": "warm", "chosen": "good", "picked": "violet"}
NAMES = ("normal", "paper default", "chosen")


@dataclass(frozen=True)
class Style:
    """Of a page, whose style sheet knows the colours, light and dark; or of a notebook."""

    is_page: bool

    def colour(self, name: str) -> str:
        return f"var(--{name})" if self.is_page else COLOURS[name]

    def scale(self, colours: Mapping[str, str]) -> alt.Scale:
        """``colours``: by value, the colour's name."""
        return alt.Scale(domain=list(colours), range=[self.colour(c) for c in colours.values()])

    @property
    def legend(self) -> Any:
        """A page has a key of its own, which folds on narrow screens."""
        return None if self.is_page else self._legend(symbolType="square")

    @property
    def line_legend(self) -> Any:
        return None if self.is_page else self._legend(symbolType="stroke", symbolStrokeWidth=3)

    def _legend(self, **look: Any) -> alt.Legend:
        return alt.Legend(title=None, orient="top", symbolOpacity=1, columns=4, **look)

    @property
    def width(self) -> Any:
        return "container" if self.is_page else 460

    def finished(self, chart: Any, height: float) -> Any:
        """A chart that stands alone, at its size."""
        return self.configured(self.sized(chart, height))

    def sized(self, chart: Any, height: float) -> Any:
        return chart.properties(width=self.width, height=height)

    def configured(self, chart: Any) -> Any:
        soft, line = self.colour("soft"), self.colour("line")
        axis: dict[str, Any] = {
            "labelColor": soft,
            "titleColor": soft,
            "gridColor": line,
            "domainColor": line,
            "tickColor": line,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelPadding": 5,
            "labelOverlap": "greedy",
            "labelSeparation": 6,
        }
        return chart.properties(
            config={
                "font": "system-ui, sans-serif",
                "background": "transparent" if self.is_page else self.colour("sheet"),
                "padding": 2,
                "view": {"stroke": None},
                "axis": axis,
                "axisY": {"tickCount": 5, "domain": False, "ticks": False},
                "axisX": {"tickCount": 5, "grid": False},
                "legend": {"labelColor": soft, "labelFontSize": 12},
                "title": {"color": soft, "fontSize": 13, "anchor": "start"},
            }
        )


PAGE, NOTEBOOK = Style(True), Style(False)


def schedule_hue(style: Style, names: tuple[str, ...] = NAMES) -> alt.Color:
    """The colour of ``schedule``."""
    scale = style.scale({name: SCHEDULES[name] for name in names})
    return alt.Color("schedule:N", scale=scale, legend=style.line_legend)
