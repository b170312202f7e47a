"""Results as the contents of their files, in which figures have places."""

from __future__ import annotations

from pydantic import TypeAdapter

from planner.figures.json_pointers import Figures


def figures_of(plan: object = None, validation: object = None) -> Figures:
    """Of a ``Plan`` and a ``Validation``, as ``profiles.store.save`` writes them."""
    given = {"plan": plan, "validation": validation}
    return Figures(
        {
            name: TypeAdapter(type(one)).dump_python(one, mode="json")
            for name, one in given.items()
            if one is not None
        }
    )
