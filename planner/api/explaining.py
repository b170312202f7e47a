"""Explaining: what ``staircase explain`` says, and the report."""

from __future__ import annotations

from pathlib import Path

from planner.report import report
from planner.report.explain_text import explanation_lines
from planner.results.plans import Plan
from planner.results.validation import Validation
from staircase.errors import InputError


def explain(plan: Plan, validation: Validation | None = None) -> str:
    """A plan in one screen: what a reader gains, what bounds it, what the limits cost.

    Raises:
        InputError: the plan has no explanation.
    """
    if plan.explanation is None:
        raise InputError("the plan has no explanation; plan again")
    return "\n".join(explanation_lines(plan, plan.explanation, validation))


def write_report(path: str | Path, plan: Plan, validation: Validation | None = None) -> None:
    """One self-contained HTML page of a plan and, if it was validated, of that.

    Raises:
        InputError: the plan has no explanation, or nothing can be written there.
    """
    report.write_report(Path(path), plan, validation)
