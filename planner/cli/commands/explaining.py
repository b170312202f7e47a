"""``staircase explain``: a plan in one screen."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from planner.cli.given import refuse
from planner.cli.terminal import AsJson, OutFolder, notes, print_json, screen
from staircase.errors import PlanError

PlanPath = Annotated[
    Path,
    typer.Argument(help="A plan file (.json), or the scenario (YAML).", show_default=False),
]


def explain(
    ctx: typer.Context, plan: PlanPath, out: OutFolder = None, as_json: AsJson = False
) -> None:
    """Say in one screen what a plan chose, what it gains, where TTFT goes and what decides."""
    from planner.api.explaining import explain as explained
    from planner.results.plans import load_plan
    from planner.results.validation import load_validation
    from planner.workspace import Workspace

    if plan.suffix == ".json":
        refuse(ctx, "out", why="a plan file is given, not a scenario")
    path = plan if plan.suffix == ".json" else Workspace.open(plan, out).plan_path
    if not path.is_file():
        raise PlanError(f"{path}: no plan; make one with 'staircase plan SCENARIO'")
    found, measured = load_plan(path), path.with_name("validation.json")
    checked = load_validation(measured) if measured.is_file() else None
    if checked is not None and not checked.is_of(found):
        notes.print(f"{measured}: is of another plan, left out", highlight=False, soft_wrap=True)
        checked = None
    if found.explanation is None:
        raise PlanError(f"{path}: has no explanation; make it again with 'staircase plan'")
    if as_json:
        comparisons = [asdict(one) for one in checked.comparisons] if checked else None
        print_json({**asdict(found.explanation), "comparisons": comparisons})
        return
    for line in explained(found, checked).split("\n"):
        screen.print(line, highlight=False, markup=False, soft_wrap=True)
