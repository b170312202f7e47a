"""The report: one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader

from planner.drawing import describe_schedule, draw_front, draw_staircase, draw_timeline
from planner.plans import Plan
from planner.tables import validation_cells
from planner.validate import Validation
from staircase.files import write_text
from staircase.timeline import Timeline, to_s


@dataclass(frozen=True)
class Runs:
    """Timelines by schedule name."""

    simulated: Mapping[str, Sequence[Timeline]]
    real: Mapping[str, Sequence[Timeline]]


def write_report(path: Path, plan: Plan, validation: Validation, runs: Runs, answer: str) -> None:
    """``answer`` is the agent whose staircase is drawn."""
    templates = Environment(loader=PackageLoader("planner"), autoescape=True)
    chosen = plan.named()["chosen"]
    page = templates.get_template("report.html").render(
        plan=plan,
        chosen_words=describe_schedule(chosen),
        cards=_cards(plan, validation),
        table=validation_cells(validation),
        extrapolated=chosen.extrapolated,
        staircase=draw_staircase(runs.real["chosen"][0], answer),
        timelines=_timelines(runs),
        front=draw_front(plan),
        provenance=json.dumps(asdict(plan.provenance), indent=1),
    )
    write_text(path, page)


def _cards(plan: Plan, validation: Validation) -> list[dict[str, str]]:
    chosen = next(row for row in validation.rows if row.name == "chosen")
    agreement = chosen.measured.get("agreement")
    quality = f"{agreement.mean:.3f}" if agreement else "–"
    return [
        {"value": f"{validation.ttft_reduction:.1%}", "words": "less measured TTFT than normal"},
        {"value": quality, "words": "measured quality (agreement; normal is 1)"},
        {"value": f"{validation.error('ttft_s'):.1%}", "words": "median TTFT forecast error"},
        {"value": str(validation.requests), "words": "real requests for each schedule"},
    ]


def _timelines(runs: Runs) -> list[dict[str, str]]:
    pairs = [
        (f"{name}, {kind}", timelines[name][0])
        for name in ("normal", "chosen")
        for kind, timelines in (("forecast", runs.simulated), ("real", runs.real))
    ]
    until = max(to_s(line.completed_ps - line.arrival_ps) for _, line in pairs)
    return [{"words": words, "svg": draw_timeline(line, until)} for words, line in pairs]
