"""The report's tables: cells are figures with their places, or words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from planner.charts.ttft import role_colour
from planner.figures.axis import Axis
from planner.figures.json_pointers import Figures, place_of
from planner.figures.metric_table import METRICS
from planner.figures.objectives import parse_objective
from planner.figures.shown_columns import WITH_INTERVAL, shown_columns, text_columns
from planner.results.explanation import Explanation
from planner.results.plans import Plan
from planner.results.validation import Validation

Keys = tuple[str | int, ...]
EXPLANATION: Keys = ("plan", "explanation")
PERCENTILES, PERCENTILES_OF = ("p50", "p90", "p99"), ("ttft_s", "smooth_start_s", "e2e_s", "itl_s")


@dataclass(frozen=True)
class Cell:
    """A figure, and how long its bar is as a share of the column's longest."""

    words: Markup
    share: float = 0.0


@dataclass(frozen=True)
class ReportRow:
    """``kind`` is a class of the style sheet."""

    head: Markup
    cells: tuple[Cell, ...]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    columns: tuple[Markup, ...]
    rows: tuple[ReportRow, ...]


def summary_table(figures: Figures, plan: Plan, validation: Validation | None) -> Table:
    """The named schedules' forecasts, or every validated one's beside its measurement."""
    entries = _entries(figures, plan, validation)
    known = {metric for _, _, keys in entries for metric in figures.value(place_of(*keys))}
    metrics = shown_columns(known)
    heads = [escape(METRICS[metric].column_head) for metric in metrics]
    return Table(
        (Markup("schedule"), Markup(""), *heads),
        tuple(
            ReportRow(
                name, (Cell(Markup(kind)), *(metric_cell(figures, keys, m) for m in metrics)), kind
            )
            for name, kind, keys in entries
        ),
    )


def percentile_table(figures: Figures, plan: Plan, validation: Validation | None) -> Table:
    """What half, nine in ten and ninety-nine in a hundred requests stay below."""
    heads = [
        Markup(f"{METRICS[metric].column or METRICS[metric].label} {statistic.upper()}")
        for metric in PERCENTILES_OF
        for statistic in PERCENTILES
    ]
    rows = []
    for name, kind, keys in _entries(figures, plan, validation):
        known = figures.value(place_of(*keys))
        places = [
            place_of(*keys, metric, one, factor=METRICS[metric].factor) if metric in known else ""
            for metric in PERCENTILES_OF
            for one in PERCENTILES
        ]
        cells = [Cell(figures.html(at) if at else Markup("–")) for at in places]
        rows.append(ReportRow(name, (Cell(Markup(kind)), *cells), kind))
    return Table((Markup("ms"), Markup(""), *heads), tuple(rows))


def _entries(
    figures: Figures, plan: Plan, validation: Validation | None
) -> list[tuple[Markup, str, Keys]]:
    """Of schedules: the name, forecast or measured, and where the figures stand."""
    if validation is None:
        numbers = {name: getattr(plan, name.split()[0]) for name in plan.named()}
        return [
            (escape(name), "forecast", ("plan", "candidates", number, "forecast"))
            for name, number in numbers.items()
        ]
    found: list[tuple[Markup, str, Keys]] = []
    for number in range(len(validation.rows)):
        keys: Keys = ("validation", "rows", number)
        name = figures.html(place_of(*keys, "name"))
        found.append((name, "forecast", (*keys, "candidate", "forecast")))
        found.append((name, "measured", (*keys, "measured")))
    return found


def text_table(figures: Figures, validation: Validation) -> Table:
    """What the answers of every validated schedule are like as texts."""
    known = text_columns(name for row in validation.rows for name in row.measured)
    rows = []
    for number in range(len(validation.rows)):
        keys: Keys = ("validation", "rows", number)
        cells = [metric_cell(figures, (*keys, "measured"), metric) for metric in known]
        rows.append(ReportRow(figures.html(place_of(*keys, "name")), tuple(cells)))
    heads = [escape(METRICS[metric].column_head) for metric in known]
    return Table((Markup("schedule"), *heads), tuple(rows))


def metric_cell(figures: Figures, keys: Keys, metric: str) -> Cell:
    if metric not in figures.value(place_of(*keys)):
        return Cell(Markup("–"))
    factor = METRICS[metric].factor
    names = ("mean", "low", "high") if metric in WITH_INTERVAL else ("mean",)
    places = [place_of(*keys, metric, name, factor=factor) for name in names]
    return Cell(figures.html(*places, template="{} ({} – {})" if len(places) > 1 else "{}"))


def ttft_table(figures: Figures, measured: int | None) -> Table:
    """Of the choice: each part's forecast, what it is with nothing in the way, and measured."""
    columns: dict[str, Keys] = {
        "forecast": (*EXPLANATION, "ttft", "chosen"),
        "bound": (*EXPLANATION, "bound", "chosen"),
    }
    if measured is not None:
        columns["measured"] = ("validation", "rows", measured, "ttft")
    found = {
        (part["role"], part["phase"]): (*keys, "parts", number)
        for keys in reversed(columns.values())
        for number, part in enumerate(figures.value(place_of(*keys, "parts")))
    }
    rows = [
        ReportRow(
            Markup('<i class="swatch in-{}" style="background:var(--{})"></i>{} {}').format(
                phase, role_colour(role), figures.html(place_of(*found[role, phase], "role")), phase
            ),
            tuple(_part(figures, keys, role, phase) for keys in columns.values()),
        )
        for role, phase in _parts_in_order(figures, list(columns.values()))
    ]
    totals = [place_of(*keys, "ttft_s", factor=1000) for keys in columns.values()]
    rows.append(ReportRow(Markup("sum"), tuple(Cell(figures.html(at)) for at in totals), "total"))
    return Table((Markup("ms"), *map(Markup, columns)), tuple(rows))


def _parts_in_order(figures: Figures, columns: Sequence[Keys]) -> list[tuple[str, str]]:
    """Each part once, those of one column in their order."""
    found: list[tuple[str, str]] = []
    for keys in columns:
        own = [(p["role"], p["phase"]) for p in figures.value(place_of(*keys, "parts"))]
        for place, part in enumerate(own):
            if part not in found:
                before = [found.index(p) for p in own[:place] if p in found]
                found.insert(max(before, default=-1) + 1, part)
    return found


def _part(figures: Figures, keys: Keys, role: str, phase: str) -> Cell:
    parts = figures.value(place_of(*keys, "parts"))
    for number, part in enumerate(parts):
        if (part["role"], part["phase"]) == (role, phase):
            place = place_of(*keys, "parts", number, "mean_s", factor=1000)
            whole = figures.value(place_of(*keys, "ttft_s")) or 1.0
            return Cell(figures.html(place), part["mean_s"] / whole)
    return Cell(Markup("–"))


def importance_rows(
    figures: Figures, objectives: Sequence[str], parameters: Sequence[str]
) -> Table:
    """A parameter's share of each objective, in percent."""
    columns = [figures.html(f"plan/objectives/{number}") for number in range(len(objectives))]
    rows = []
    for name in parameters:
        places = [
            place_of(*EXPLANATION, "importances", objective, name, factor=100)
            for objective in objectives
        ]
        cells = [Cell(figures.html(at, template="{} %"), figures.scaled(at) / 100) for at in places]
        rows.append(ReportRow(escape(name), tuple(cells)))
    return Table((Markup("parameter"), *columns), tuple(rows))


def neighbour_rows(figures: Figures, explanation: Explanation, objectives: Sequence[str]) -> Table:
    """The choice, then every neighbour."""
    columns = [
        Markup("{}{}").format(figures.html(f"plan/objectives/{number}"), _axis(word).unit)
        for number, word in enumerate(objectives)
    ]
    entries: list[tuple[str, Keys]] = [("chosen", EXPLANATION)]
    entries += [("", (*EXPLANATION, "neighbours", n)) for n in range(len(explanation.neighbours))]
    most = {
        word: max(figures.value(place_of(*keys, "figures", word)) or 0.0 for _, keys in entries)
        for word in objectives
    }
    rows = []
    for number, (kind, keys) in enumerate(entries):
        head, ends = Markup("the choice"), Markup("")
        if not kind:
            neighbour = explanation.neighbours[number - 1]
            value = figures.html(place_of(*keys, "value"))
            head = Markup("{} <b>{}</b>").format(neighbour.parameter, value)
            ends = Markup("" if neighbour.keeps_limits else "beyond a limit")
        cells = [_objective(figures, keys, word, most[word]) for word in objectives]
        rows.append(ReportRow(head, (*cells, Cell(ends)), kind))
    return Table((Markup("one change"), *columns, Markup("")), tuple(rows))


def _axis(word: str) -> Axis:
    return Axis(parse_objective(word))


def _objective(figures: Figures, keys: Keys, word: str, most: float) -> Cell:
    place = place_of(*keys, "figures", word, factor=_axis(word).factor)
    value = figures.value(place) or 0.0
    return Cell(figures.html(place), value / most if most > 0 else 0.0)
