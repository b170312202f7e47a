"""The report's table of all candidates, which a reader sorts by a click on a head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup, escape

from planner.figures.describing import phrase_of
from planner.figures.json_pointers import Figures, place_of
from planner.figures.metric_table import METRICS
from planner.figures.shown_columns import shown_columns
from planner.results.plans import Plan


@dataclass(frozen=True)
class SortableCell:
    """A figure, and what it is sorted by: the value as it stands in the plan, or none."""

    words: Markup
    value: float | None


@dataclass(frozen=True)
class CandidateRow:
    """``kind`` is a class of the style sheet; ``badge`` says what the candidate is."""

    number: int
    kind: str
    badge: str
    staircase: Markup
    cells: tuple[SortableCell, ...]


@dataclass(frozen=True)
class CandidatesTable:
    columns: tuple[Markup, ...]
    rows: tuple[CandidateRow, ...]


def candidates_table(figures: Figures, plan: Plan, answer: str) -> CandidatesTable:
    """Named ones first, then the front, then the others in the order of the search."""
    metrics = shown_columns(plan.candidates[plan.chosen].forecast)
    named = {plan.normal: "normal", plan.paper: "paper default", plan.chosen: "chosen"}
    numbers = dict.fromkeys([*named, *plan.front, *range(len(plan.candidates))])
    rows = []
    for number in numbers:
        is_front = number in plan.front
        badge = named.get(number) or ("on the front" if is_front else "")
        kind = badge.split()[0] if number in named else "onfront" if is_front else ""
        staircase = _staircase(figures, plan, number, answer)
        cells = tuple(_cells(figures, number, metrics))
        rows.append(CandidateRow(number, kind, badge, staircase, cells))
    return CandidatesTable(tuple(escape(METRICS[m].column_head) for m in metrics), tuple(rows))


def _staircase(figures: Figures, plan: Plan, number: int, answer: str) -> Markup:
    phrase = phrase_of(plan.candidates[number].schedule, answer)
    keys = ("plan", "candidates", number, "schedule")
    places = (place_of(*keys, *way) for way in phrase.keys)
    return figures.html(*places, template=phrase.template)


def _cells(figures: Figures, number: int, metrics: list[str]) -> Iterator[SortableCell]:
    for metric in metrics:
        keys = ("plan", "candidates", number, "forecast", metric, "mean")
        place = place_of(*keys, factor=METRICS[metric].factor)
        yield SortableCell(figures.html(place), figures.value(place))
