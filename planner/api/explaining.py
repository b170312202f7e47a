"""Explaining: what ``staircase explain`` says, and the report."""

from __future__ import annotations

import warnings
from pathlib import Path

from planner.extras import MissingExtraError, extras
from planner.progress import SILENT, Progress
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
        InputError: the plan has no explanation, nothing can be written there, or the extra
            ``report`` is not installed.
    """
    with extras():
        from planner.report import report
    report.write_report(Path(path), plan, validation)


def report_or_why_not(
    path: Path, plan: Plan, validation: Validation | None, progress: Progress
) -> None:
    """Where the extra ``report`` is missing a line says so, and no older report is left."""
    try:
        write_report(path, plan, validation)
    except MissingExtraError as error:
        path.unlink(missing_ok=True)
        words = f"no report: {error}"
        if progress is SILENT:
            warnings.warn(words, stacklevel=2)
        progress.say([words])
