"""Plans with an explanation, and validations of them that nothing was run for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from planner.api.planning import plan
from planner.results.plans import Plan
from planner.results.validation import Validation, ValidationRow
from staircase.metrics.request_metrics import Summary

EXAMPLES = Path(__file__).parents[2] / "examples"


def small_plan(example: str = "paper_moa", trials: int = 20, **options: object) -> Plan:
    return plan(EXAMPLES / f"{example}.yaml", trials=trials, **options)  # type: ignore[arg-type]


@cache
def paper_plan() -> Plan:
    """Of the paper's pipeline; searched once for all who only look at it."""
    return small_plan()


def scaled(summary: Summary, factor: float) -> Summary:
    return Summary(**{name: value * factor for name, value in vars(summary).items()})


def validation_of(found: Plan, factor: float = 1.25) -> Validation:
    """As if everything had come to ``factor`` times its forecast."""
    assert found.explanation is not None
    rows = [
        ValidationRow(
            name,
            candidate,
            {metric: scaled(one, factor) for metric, one in candidate.forecast.items()},
            found.explanation.ttft[name],
            replace(found.explanation.timelines[name], request=7),
        )
        for name, candidate in found.named().items()
    ]
    return Validation.of(found, rows, requests=3)
