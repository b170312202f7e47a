"""The Pareto front as a picture: every schedule that was simulated, in two of its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.describing import phrase_of
from planner.figures import Figures, place_of
from planner.objectives import METRICS, Objective, parse_objective
from planner.plans import Plan
from planner.svg import MARGIN, WIDTH, LogScale, Scale, axes, svg, tip
from planner.tables import COLUMNS, METRIC_ROWS

HEIGHT = 340
MANY = 12
# The other axis of a plan with one objective: the first of these that is not it and is known.
SECONDS = ("ttft", "unread", "loss", "e2e", "stall")
# Words for users that are abbreviations.
SHORT = ("ttft", "tpot", "itl", "e2e")
NAMED = {"normal": "normal", "paper": "paper default", "chosen": "chosen"}


@dataclass(frozen=True)
class Axis:
    """A figure of forecasts, as the report shows it."""

    objective: Objective
    at: str = ""

    @property
    def metric(self) -> str:
        return METRICS[self.objective.word]

    @property
    def factor(self) -> float:
        known = {**METRIC_ROWS, **COLUMNS}.get(self.metric)
        return known[1] if known else 1000 if self.metric.endswith("_s") else 1

    @property
    def unit(self) -> str:
        return " ms" if self.factor == 1000 else ""

    @property
    def label(self) -> str:
        """Its metric, as texts call it."""
        return self.objective.word.upper() if self.objective.word in SHORT else self.objective.word

    @property
    def words(self) -> str:
        return f"{self.objective.name}{self.unit and ', ms'}"

    def place(self, *keys: str | int, statistic: str | None = None) -> str:
        statistic = statistic or self.objective.statistic
        return place_of(*keys, self.metric, statistic, factor=self.factor)


def axes_of(figures: Figures) -> tuple[Axis, Axis]:
    """The plan's first two objectives."""
    words = figures.value("plan/objectives")
    found = [Axis(parse_objective(w), f"plan/objectives/{n}") for n, w in enumerate(words[:2])]
    known = figures.value("plan/candidates/0/forecast")
    others = [Axis(parse_objective(word)) for word in SECONDS]
    found += [one for one in others if one.metric in known and one.metric != found[0].metric]
    return found[0], found[1]


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
