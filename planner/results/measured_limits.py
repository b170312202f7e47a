"""Limits as measured: which of a plan's limits each schedule kept in real runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from planner.figures.objectives import Limit
from staircase.metrics.request_metrics import NAN, Summary


@dataclass(frozen=True)
class MeasuredLimit:
    """One limit and what one schedule came to.

    Attributes:
        name: of the schedule.
        limit: in words.
        value: as measured, in the limit's unit; None where it was not measured.
        is_kept: None where it was not measured.
    """

    name: str
    limit: str
    value: float | None
    is_kept: bool | None

    @property
    def verdict(self) -> str:
        return {True: "kept", False: "broken", None: "not measured"}[self.is_kept]


def measured_limits(
    rows: Mapping[str, Mapping[str, Summary]], limits: Sequence[Limit]
) -> Iterator[MeasuredLimit]:
    """Of every schedule of ``rows`` (measured metrics, by name) every limit."""
    for name, measured in rows.items():
        for limit in limits:
            value = limit.objective.figure(measured) if limit.objective.is_known(measured) else NAN
            if math.isnan(value):
                yield MeasuredLimit(name, str(limit), None, None)
            else:
                yield MeasuredLimit(name, str(limit), value, not limit.excess(measured))


def verdict_of(limits: Iterable[MeasuredLimit]) -> str:
    """Of one schedule in a word; all are kept only if all were measured."""
    found = {limit.is_kept for limit in limits}
    return "broken" if False in found else "unknown" if None in found else "kept"


def limit_words(one: MeasuredLimit) -> str:
    """As in ``quality ≥ 0.95, as measured: chosen has 0.97, kept``."""
    value = "" if one.value is None else f" has {one.value:.4g},"
    return f"{one.limit}, as measured: {one.name}{value} {one.verdict}"
