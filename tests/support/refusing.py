"""A function that another process is asked to call; apart, as that process imports this file."""

from __future__ import annotations

from staircase.errors import PlanError


def refuse(words: str) -> None:
    raise PlanError(words)
