"""Plans and validations as the contents of their files, in which figures have places."""

from __future__ import annotations

from pydantic import TypeAdapter

from planner.figures.json_pointers import Figures
from planner.results.plans import Plan
from planner.results.validation import Validation


def figures_of(plan: Plan | None = None, validation: Validation | None = None) -> Figures:
    """As ``profiles.store.save`` writes them."""
    documents = {}
    if plan is not None:
        documents["plan"] = TypeAdapter(Plan).dump_python(plan, mode="json")
    if validation is not None:
        documents["validation"] = TypeAdapter(Validation).dump_python(validation, mode="json")
    return Figures(documents)
