"""The Pareto front as a picture: every schedule that was simulated, in two of its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.figures.axis import Axis, axes_of
from planner.figures.describing import phrase_of
from planner.figures.json_pointers import Figures, place_of
from planner.figures.svg import MARGIN, WIDTH, LogScale, Scale, axes, svg, tip
from planner.results.plans import Plan

HEIGHT = 340
MANY = 12
NAMED = {"normal": "normal", "paper": "paper default", "chosen": "chosen"}


def draw_front(figures: Figures, plan: Plan, answer: str) -> str:
    """Forecasts as dots; the front joined, the named ones marked, measurements as crosses.

    What is told of a dot is the staircase of the agent ``answer``.
    """
    return svg(HEIGHT, list(_Front(figures, plan, answer, *axes_of(figures)).body()))


@dataclass(frozen=True)
class _Front:
    figures: Figures
    plan: Plan
    answer: str
    across: Axis
    up: Axis

    def body(self) -> Iterator[str]:
        count, front = len(self.plan.candidates), self.plan.front
        x, y = self._scales(count)
        words = (f"forecast {self.across.words}", f"forecast {self.up.words}")
        yield from axes(x, y, HEIGHT, *words, (self.across.at, self.up.at))
        for number in range(count):
            yield self._dot(number, x, y, "dot")
        points = [self._point(number) for number in front]
        joined = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        yield f'<polyline class="front" points="{joined}"/>'
        for number in front:
            yield self._dot(number, x, y, "dot onfront", 4)
        for kind, name in NAMED.items():
            yield self._dot(getattr(self.plan, kind), x, y, f"dot {kind}", 6, name)
        yield from self._measured(x, y)

    def _scales(self, count: int) -> tuple[Scale, Scale]:
        points = [self._point(number) for number in range(count)]
        points += [self._spot(row) for row in self._rows()]
        across, up = ([point[n] for point in points if point[n] == point[n]] for n in (0, 1))
        return _scale(across, MARGIN, WIDTH - 12), _scale(up, HEIGHT - 40, 28)

    def _point(self, number: int) -> tuple[float, float]:
        keys = ("plan", "candidates", number, "forecast")
        a, b = (self.figures.scaled(axis.place(*keys)) for axis in (self.across, self.up))
        return a, b

    def _dot(
        self, number: int, x: Scale, y: Scale, kind: str, radius: int = 3, name: str = ""
    ) -> str:
        keys = ("plan", "candidates", number)
        phrase = phrase_of(self.plan.candidates[number].schedule, self.answer)
        places = [place_of(*keys, "schedule", *way) for way in phrase.keys]
        places += [axis.place(*keys, "forecast") for axis in (self.across, self.up)]
        template = f"{name + ': ' if name else ''}{phrase.template}; {self._template()}"
        a, b = self._point(number)
        told = tip(self.figures.words(template, places), places)
        return (
            f'<circle class="{kind}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="{radius}">{told}</circle>'
        )

    def _template(self) -> str:
        axes = (self.across, self.up)
        return ", ".join(f"{a.label} {{}}{a.unit}" for a in axes)

    # measurements

    def _rows(self) -> list[int]:
        """Numbers of the validation's rows that have both figures."""
        rows = (self.figures.value("validation") or {}).get("rows", [])
        metrics = {self.across.metric, self.up.metric}
        return [number for number, row in enumerate(rows) if metrics <= row["measured"].keys()]

    def _spot(self, row: int) -> tuple[float, float]:
        keys = ("validation", "rows", row, "measured")
        a, b = (self.figures.scaled(axis.place(*keys)) for axis in (self.across, self.up))
        return a, b

    def _measured(self, x: Scale, y: Scale) -> Iterator[str]:
        for row in self._rows():
            keys = ("validation", "rows", row)
            a, b = self._spot(row)
            places = [
                place_of(*keys, "name"),
                *(axis.place(*keys, "measured") for axis in (self.across, self.up)),
            ]
            words = self.figures.words(f"{{}} measured: {self._template()}", places)
            cross = f"M{x(a) - 4:.1f} {y(b) - 4:.1f}l8 8m0 -8l-8 8"
            kind = self.figures.value(place_of(*keys, "name")).split()[0]
            yield f'<path class="cross {kind}" d="{cross}">{tip(words, places)}</path>'


def _scale(values: Sequence[float], start: float, stop: float) -> Scale:
    """From 0; by the logarithm where the largest is many times the smallest."""
    least, most = min(values, default=0.0), max(values, default=1.0)
    if least > 0 and most / least > MANY:
        return LogScale(least / 1.15, most * 1.15, start, stop)
    return Scale(min(0.0, least), most * 1.02 or 1.0, start, stop)
