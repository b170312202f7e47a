"""What a validation has finished (``executor.line_log``): runs, and what models say of them."""

from __future__ import annotations

from dataclasses import dataclass

from executor.line_log import ItemLog, LineLog
from executor.measure.measure_quality import MeasuredQuality
from executor.runtime import Outcome
from profiles.store import content_hash
from staircase.spec.scenario import Scenario


@dataclass(frozen=True)
class ValidationLog:
    """Of the same scenario, plan and questions.

    Attributes:
        runs: by number of the job.
        quality: by what was compared.
        likelihood: by the text that was scored.
    """

    runs: ItemLog[Outcome]
    quality: ItemLog[MeasuredQuality]
    likelihood: ItemLog[float]

    @staticmethod
    def keys(key: str, scenario: Scenario) -> tuple[str, str, str]:
        """Of the lines.

        Args:
            key: of the runs.
        """
        scoring = content_hash(scenario.scoring_models)
        return key, f"{key} quality of all {scoring}", f"{key} likelihood {scoring}"

    @staticmethod
    def of(lines: LineLog, key: str, scenario: Scenario) -> ValidationLog:
        runs, quality, likelihood = ValidationLog.keys(key, scenario)
        return ValidationLog(
            ItemLog(lines, runs, Outcome),
            ItemLog(lines, quality, MeasuredQuality),
            ItemLog(lines, likelihood, float),
        )
