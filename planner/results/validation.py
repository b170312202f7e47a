"""Validations: forecast beside measurement, as a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from planner.extras import extras
from planner.figures.objectives import parse_objective
from planner.results.breakdown import TtftParts
from planner.results.comparison import NEGLIGIBLE, Comparison, comparisons
from planner.results.documents import figures_of
from planner.results.measured_limits import MeasuredLimit, limit_words, measured_limits
from planner.results.plans import Candidate, Plan
from planner.results.reader_gain import ReaderGain
from planner.results.shown import Row, Shown, figures_by_statistic, shown_figures
from profiles.store import Provenance, load, provenance_of_now, save
from staircase.errors import PlanError
from staircase.metrics.request_metrics import Summary
from staircase.metrics.shortfalls import Shortfall, shortfall_lines
from staircase.timeline import Timeline

SCHEMA = "staircase.validation/4"
# Of the model.
LIKELIHOOD = "nats a token under {} after the question and all whole drafts"
# How many, of how many, and why.
LEFT_OUT = "{} of {} answers have no likelihood: {}"


@dataclass(frozen=True)
class TextSample:
    """An answer, and what a reader finds wrong with it, in words."""

    question: str
    answer: str
    faults: tuple[str, ...]


@dataclass(frozen=True)
class AnsweredQuestion:
    """What schedules answered to one question, by the names of ``Plan.named``."""

    question: str
    answers: Mapping[str, str]


@dataclass(frozen=True)
class LeftOut:
    """Answers of which a figure is not known, and why, in words."""

    answers: int
    why: str


@dataclass(frozen=True)
class ValidationRow:
    """One schedule: what was forecast and what was measured, by metric.

    Attributes:
        ttft: where the measured TTFT went.
        timeline: of the request with its median TTFT; begins at 0.
        shortfalls: which agents' texts its answers lack, and why.
        worst: the answer with most faults as a text; None if all have none.
        left_out: answers without a likelihood.
        distributions: of TTFT and ITL (``staircase.metrics.distributions``).
    """

    name: str
    candidate: Candidate
    measured: Mapping[str, Summary]
    ttft: TtftParts
    timeline: Timeline
    shortfalls: tuple[Shortfall, ...] = ()
    worst: TextSample | None = None
    left_out: tuple[LeftOut, ...] = ()
    distributions: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def both(self) -> dict[str, Mapping[str, Summary]]:
        return {"forecast": self.candidate.forecast, "measured": self.measured}


@dataclass(frozen=True)
class Validation(Shown):
    """Rows over the same requests.

    Attributes:
        requests: real requests that each schedule played.
        comparisons: of the plan's schedules to the baselines, in the plan's objectives.
        errors: by metric, the median over schedules of the forecast's relative error.
        limits: of every schedule each of the plan's, as measured.
        reading: what a reader gains, as measured.
        likelihood_by: the model that was asked how likely answers are.
        samples: a few questions with the answers of the named schedules.
    """

    scenario: str
    requests: int
    rows: tuple[ValidationRow, ...]
    comparisons: tuple[Comparison, ...]
    errors: Mapping[str, float]
    limits: tuple[MeasuredLimit, ...]
    reading: ReaderGain
    provenance: Provenance = field(compare=False)
    likelihood_by: str | None = None
    samples: tuple[AnsweredQuestion, ...] = ()

    def is_of(self, plan: Plan) -> bool:
        """Whether it is of this plan, not of one that was made before."""
        rows = {row.name: row.candidate for row in self.rows}
        return all(rows.get(name) == one for name, one in plan.named().items())

    def table_rows(self) -> list[Row]:
        """Two of each schedule: forecast and measured."""
        return [
            {"schedule": row.name, "kind": kind, **figures_by_statistic(summaries)}
            for row in self.rows
            for kind, summaries in row.both.items()
        ]

    def shown_rows(self) -> list[Row]:
        return [
            {"": row.name, " ": kind, **shown_figures(summaries)}
            for row in self.rows
            for kind, summaries in row.both.items()
        ]

    def figure(self) -> Any:
        """Forecast and measurement of every schedule, with their intervals."""
        with extras():
            from planner.charts.notebook import validation_figure
        return validation_figure(figures_of(validation=self))

    @property
    def reading_lines(self) -> Iterator[str]:
        """What a reader gains by the choice, and which limits that keeps, in words."""
        yield f"Measured. {self.reading.sentence}"
        yield from (f"limit {limit_words(one)}" for one in self.limits if one.name == "chosen")

    @property
    def shortfall_lines(self) -> list[str]:
        """In words, by schedule."""
        return [
            f"{row.name}: {words}"
            for row in self.rows
            for words in shortfall_lines(row.shortfalls, self.requests)
        ]

    @property
    def likelihood_lines(self) -> Iterator[str]:
        """Whose opinion the likelihood is, and which answers have none, in words."""
        if self.likelihood_by:
            yield f"log-likelihood: {LIKELIHOOD.format(self.likelihood_by)}"
        for row in self.rows:
            for one in row.left_out:
                yield f"{row.name}: {LEFT_OUT.format(one.answers, self.requests, one.why)}"

    @staticmethod
    def of(
        plan: Plan, rows: Sequence[ValidationRow], requests: int, likelihood_by: str | None = None
    ) -> Validation:
        measured = {row.name: row.measured for row in rows}
        bounds = plan.explanation.reading.bounds if plan.explanation else ()
        settings = {"requests": requests, "profiles": dict(plan.profile_hashes)}
        return Validation(
            plan.scenario,
            requests,
            tuple(rows),
            tuple(comparisons(measured, list(map(parse_objective, plan.objectives)))),
            dict(_errors(rows)),
            tuple(measured_limits(measured, plan.limits_of())),
            ReaderGain.of(plan.reading_rate, measured["normal"], measured["chosen"], bounds),
            provenance_of_now(settings),
            likelihood_by,
        )


def _errors(rows: Sequence[ValidationRow]) -> Iterator[tuple[str, float]]:
    """Of the metrics that are forecast and were measured above what is negligible."""
    for metric in rows[0].measured:
        least = NEGLIGIBLE.get(metric, 0.0)
        known = [row for row in rows if metric in row.candidate.forecast]
        pairs = [(r.candidate.forecast[metric].mean, r.measured[metric].mean) for r in known]
        errors = [abs(forecast / real - 1) for forecast, real in pairs if abs(real) > least]
        if errors:
            yield metric, float(np.median(errors))


def save_validation(path: Path, validation: Validation) -> str:
    return save(path, SCHEMA, validation, Validation)


def load_validation(path: Path) -> Validation:
    return load(path, SCHEMA, Validation, PlanError)
