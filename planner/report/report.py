"""The report: one self-contained HTML page of a plan and, if it was validated, of that.

Every figure on it is printed from its place in ``plan.json`` or ``validation.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from planner.charts.distributions import distribution_chart
from planner.charts.embedding import embedded, library
from planner.charts.front import front_chart
from planner.charts.front_growth import growth_chart
from planner.charts.intervals import measured_intervals
from planner.charts.picked import picked
from planner.charts.request import MS, request_chart
from planner.charts.staircases import staircase_chart
from planner.charts.style import NAMES, PAGE
from planner.charts.tokens import tokens_chart
from planner.charts.ttft import Bar, ttft_chart
from planner.figures.axis import Axis, axes_of
from planner.figures.describing import phrase_of
from planner.figures.json_pointers import Figures, place_of
from planner.figures.metric_table import METRICS
from planner.figures.objectives import parse_objective
from planner.report.candidates_table import candidates_table
from planner.report.report_tables import (
    importance_rows,
    neighbour_rows,
    percentile_table,
    summary_table,
    text_table,
    ttft_table,
)
from planner.report.report_words import (
    comparison_rows,
    gains_of,
    held_out_rows,
    likelihood_rows,
    limit_rows,
    measured_gain,
    measured_limit_rows,
    sample_answers,
    shortfall_rows,
    worst_answers,
)
from planner.results.documents import figures_of
from planner.results.explanation import Explanation
from planner.results.plans import Plan
from planner.results.validation import Validation
from staircase.errors import PlanError
from staircase.files import write_text

# What is set beside measurements in a picture, beside the objectives.
ALSO = ("ttft", "smooth_start", "e2e")


def write_report(path: Path, plan: Plan, validation: Validation | None = None) -> None:
    """Raises PlanError if the plan has no explanation."""
    write_text(path, render(plan, validation))


def render(plan: Plan, validation: Validation | None = None) -> str:
    """The page."""
    if plan.explanation is None:
        raise PlanError("the plan has no explanation; make one with 'staircase plan'")
    page = _Page(plan, plan.explanation, validation, figures_of(plan, validation))
    templates = Environment(loader=PackageLoader("planner"), autoescape=True, trim_blocks=True)
    return templates.get_template("report.html").render(page=page)


@dataclass(frozen=True)
class _Page:
    """What the template asks for."""

    plan: Plan
    explanation: Explanation
    validation: Validation | None
    figures: Figures

    def at(self, *places: str, template: str = "{}") -> Markup:
        return self.figures.html(*places, template=template)

    @property
    def choice(self) -> Markup:
        phrase = phrase_of(self.plan.candidates[self.plan.chosen].schedule, self.explanation.answer)
        keys = ("plan", "candidates", self.plan.chosen, "schedule")
        return self.at(*(place_of(*keys, *way) for way in phrase.keys), template=phrase.template)

    @property
    def extrapolated(self) -> list[Markup]:
        keys = ("plan", "candidates", self.plan.chosen, "extrapolated")
        return [
            self.at(place_of(*keys, n)) for n in range(self.figures.value(place_of(*keys, "#")))
        ]

    # charts

    @property
    def library(self) -> Markup:
        return library()

    @property
    def staircase(self) -> Markup:
        return embedded("staircase", picked(staircase_chart(self.figures, PAGE)))

    @property
    def front(self) -> Markup:
        return embedded("front", picked(front_chart(self.figures, PAGE)))

    @property
    def tokens(self) -> Iterator[tuple[str, Markup]]:
        """Of the named schedules, forecast and, where it was validated, real."""
        places = {name: place_of("plan", "explanation", "timelines", name) for name in NAMES}
        chart = tokens_chart(self.figures, PAGE, places)
        yield "forecast", embedded("tokens", picked(chart))
        if self.validation:
            rows = {name: self._row_places(name, "timeline") for name in NAMES}
            real = {name: found[0] for name, found in rows.items() if found}
            chart = tokens_chart(self.figures, PAGE, real, has_picked=False)
            yield "real", embedded("tokens-real", chart)

    @property
    def timelines(self) -> Iterator[list[tuple[str, Markup]]]:
        """What stands side by side: forecast and real of a schedule, or else two forecasts."""
        pairs = [list(self._timelines(name)) for name in ("chosen", "normal")]
        for places in pairs if self.validation else [[*pairs[0], *pairs[1]]]:
            until = max(self.figures.value(at)["completed_ps"] for _, at in places) * MS
            yield [(words, self._request(words, at, until)) for words, at in places]

    def _request(self, words: str, place: str, until_ms: float) -> Markup:
        name = f"request-{words.replace(', ', '-')}"
        return embedded(name, request_chart(self.figures, PAGE, place, until_ms))

    def _timelines(self, name: str) -> Iterator[tuple[str, str]]:
        yield f"{name}, forecast", place_of("plan", "explanation", "timelines", name)
        for place in self._row_places(name, "timeline"):
            yield f"{name}, real", place

    def _row_places(self, name: str, *keys: str) -> list[str]:
        """Of the measured schedule with this name, if there is one."""
        return [place_of("validation", "rows", number, *keys) for number in self._rows(name)]

    def _rows(self, name: str) -> list[int]:
        rows = self.validation.rows if self.validation else ()
        return [number for number, row in enumerate(rows) if row.name == name]

    @property
    def ttft(self) -> Markup:
        return embedded("ttft", ttft_chart(self.figures, PAGE, list(self._bars())))

    def _bars(self) -> Iterator[Bar]:
        for name in NAMES:
            places = [place_of("plan", "explanation", kind, name) for kind in ("ttft", "bound")]
            yield Bar(f"{name}, forecast", *places)
            for place in self._row_places(name, "ttft"):
                yield Bar(f"{name}, measured", place)

    @property
    def intervals(self) -> list[tuple[Markup, Markup]]:
        """Forecast and measurement in each figure that was measured, with words."""
        if self.validation is None:
            return []
        rows = self.validation.rows
        shown = [a for a in self._axes() if any(a.metric in row.measured for row in rows)]
        return [
            (
                Markup("{}{}").format(axis.label, axis.unit and ", ms"),
                embedded(f"interval-{axis.metric}", measured_intervals(self.figures, PAGE, axis)),
            )
            for axis in shown
        ]

    @property
    def distributions(self) -> list[tuple[str, Markup]]:
        """Of the named schedules, forecast and measured."""
        if not self.explanation.distributions:
            return []
        return [
            (METRICS[name].label, embedded(f"distribution-{name}", chart))
            for name in ("ttft_s", "itl_s")
            for chart in [distribution_chart(self.figures, PAGE, name)]
        ]

    @property
    def growth(self) -> Markup | None:
        return (
            embedded("growth", growth_chart(self.figures, PAGE))
            if self.explanation.growth
            else None
        )

    def _axes(self) -> list[Axis]:
        """Of each metric once: its mean is drawn, whatever the objective's statistic."""
        axes = [Axis(parse_objective(word)) for word in (*self.plan.objectives, *ALSO)]
        return list({axis.metric: axis for axis in axes}.values())

    # tables

    @property
    def gains(self) -> Any:
        return gains_of(self.figures, self.explanation)

    @property
    def measured_gain(self) -> Any:
        return measured_gain(self.figures, self.validation) if self.validation else None

    @property
    def summary(self) -> Any:
        return summary_table(self.figures, self.plan, self.validation)

    @property
    def percentiles(self) -> Any:
        return percentile_table(self.figures, self.plan, self.validation)

    @property
    def candidates(self) -> Any:
        return candidates_table(self.figures, self.plan, self.explanation.answer)

    @property
    def samples(self) -> Any:
        return sample_answers(self.figures, self.validation) if self.validation else []

    @property
    def ttft_rows(self) -> Any:
        measured = self._rows("chosen")
        return ttft_table(self.figures, measured[0] if measured else None)

    @property
    def importances(self) -> Any:
        names = list(next(iter(self.explanation.importances.values()), {}))
        return importance_rows(self.figures, self.plan.objectives, names)

    @property
    def neighbours(self) -> Any:
        return neighbour_rows(self.figures, self.explanation, self.plan.objectives)

    @property
    def limits(self) -> Any:
        rows = limit_rows(self.figures, self.explanation)
        return [*rows, *held_out_rows(self.figures, self.plan)]

    @property
    def measured_limits(self) -> Any:
        return measured_limit_rows(self.figures, self.validation) if self.validation else []

    @property
    def comparisons(self) -> Any:
        if self.validation is None:
            return []
        return comparison_rows(self.figures, self.explanation, self.validation)

    @property
    def shortfalls(self) -> Any:
        if self.validation is None:
            return []
        return shortfall_rows(self.figures, self.validation)

    @property
    def texts(self) -> Any:
        return text_table(self.figures, self.validation) if self.validation else None

    @property
    def likelihood(self) -> Any:
        return likelihood_rows(self.figures, self.validation) if self.validation else []

    @property
    def worst(self) -> Any:
        return worst_answers(self.figures, self.validation) if self.validation else []

    @property
    def axes(self) -> Sequence[Axis]:
        return axes_of(self.figures)

    @property
    def provenance(self) -> str:
        return json.dumps(self.figures.value("plan/provenance"), indent=1, ensure_ascii=False)

    @property
    def real_provenance(self) -> str:
        found = self.figures.value("validation/provenance") if self.validation else None
        return json.dumps(found, indent=1, ensure_ascii=False)
