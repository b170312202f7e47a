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
from pydantic import TypeAdapter

from planner.figures.axis import Axis, axes_of
from planner.figures.describing import phrase_of
from planner.figures.json_pointers import Figures, place_of
from planner.figures.objectives import parse_objective
from planner.report.drawing import MS, draw_staircases, draw_timeline
from planner.report.drawing_bars import Bar, draw_intervals, draw_ttft
from planner.report.drawing_front import draw_front
from planner.report.drawing_tokens import draw_tokens
from planner.report.report_tables import (
    importance_rows,
    neighbour_rows,
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
    shortfall_rows,
    worst_answers,
)
from planner.results.explanation import Explanation
from planner.results.plans import Plan
from planner.results.validation import Validation
from planner.search.importance import PARAMETERS
from staircase.errors import PlanError
from staircase.files import write_text

NAMES = ("normal", "paper default", "chosen")
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


def figures_of(plan: Plan, validation: Validation | None) -> Figures:
    """Of the files' contents, as ``profiles.store.save`` writes them."""
    documents = {"plan": TypeAdapter(Plan).dump_python(plan, mode="json")}
    if validation is not None:
        documents["validation"] = TypeAdapter(Validation).dump_python(validation, mode="json")
    return Figures(documents)


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

    # pictures

    @property
    def staircase(self) -> Markup:
        place = place_of("plan", "explanation", "timelines")
        return Markup(draw_staircases(self.figures, place, self.explanation.answer))

    @property
    def front(self) -> Markup:
        return Markup(draw_front(self.figures, self.plan, self.explanation.answer))

    @property
    def tokens(self) -> Iterator[tuple[str, Markup]]:
        """Of the named schedules, forecast and, where it was validated, real."""
        keys = ("plan", "explanation", "timelines")
        yield "forecast", Markup(draw_tokens(self.figures, {n: place_of(*keys, n) for n in NAMES}))
        if self.validation:
            places = {
                name: place_of("validation", "rows", row, "timeline")
                for name in NAMES
                for row in self._rows(name)
            }
            yield "real", Markup(draw_tokens(self.figures, places))

    @property
    def timelines(self) -> Iterator[list[tuple[str, Markup]]]:
        """What stands side by side: forecast and real of a schedule, or else two forecasts."""
        pairs = [list(self._timelines(name)) for name in ("chosen", "normal")]
        for places in pairs if self.validation else [[*pairs[0], *pairs[1]]]:
            until = max(self.figures.value(at)["completed_ps"] for _, at in places) * MS
            yield [(words, Markup(draw_timeline(self.figures, at, until))) for words, at in places]

    def _timelines(self, name: str) -> Iterator[tuple[str, str]]:
        yield f"{name}, forecast", place_of("plan", "explanation", "timelines", name)
        for row in self._rows(name):
            yield f"{name}, real", place_of("validation", "rows", row, "timeline")

    def _rows(self, name: str) -> list[int]:
        rows = self.validation.rows if self.validation else ()
        return [number for number, row in enumerate(rows) if row.name == name]

    @property
    def ttft(self) -> Markup:
        return Markup(draw_ttft(self.figures, list(self._bars())))

    def _bars(self) -> Iterator[Bar]:
        for name in NAMES:
            keys = ("plan", "explanation")
            yield Bar(f"{name}, forecast", (*keys, "ttft", name), (*keys, "bound", name))
            for row in self._rows(name):
                yield Bar(f"{name}, measured", ("validation", "rows", row, "ttft"))

    @property
    def intervals(self) -> list[tuple[Markup, Markup]]:
        """Forecast and measurement in each figure that was measured, with words."""
        if self.validation is None:
            return []
        shown = [
            axis
            for axis in self._axes()
            if any(axis.metric in row.measured for row in self.validation.rows)
        ]
        return [
            (Markup("{}{}").format(axis.label, axis.unit and ", ms"), self._intervals(axis))
            for axis in shown
        ]

    def _intervals(self, axis: Axis) -> Markup:
        return Markup(draw_intervals(self.figures, axis))

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
    def ttft_rows(self) -> Any:
        measured = self._rows("chosen")
        return ttft_table(self.figures, measured[0] if measured else None)

    @property
    def importances(self) -> Any:
        return importance_rows(self.figures, self.plan.objectives, PARAMETERS)

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
