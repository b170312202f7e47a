"""What was measured so far of a quality profile (``executor.line_log``), by request number."""

from __future__ import annotations

from dataclasses import dataclass

from executor.line_log import ItemLog, LineLog
from executor.measure.measure_played import PlayedFigures
from executor.runtime import Outcome
from profiles.quality.held import HeldText
from profiles.quality.profile import QualitySample


@dataclass(frozen=True)
class QualityLog:
    """Of one pipeline, measured in one way.

    Attributes:
        full: requests that were played in full.
        samples: the same, scored with less read.
        played: figures of requests under some schedules.
        held: texts that were written after reading part of the drafts.
    """

    full: ItemLog[Outcome]
    samples: ItemLog[QualitySample]
    played: ItemLog[PlayedFigures]
    held: ItemLog[HeldText]

    @staticmethod
    def keys(key: str) -> tuple[str, str, str, str]:
        """Of the lines.

        Args:
            key: of what is measured and how; what is of anything else is not used.
        """
        return f"{key} full", f"{key} sample", f"{key} played", f"{key} held"

    @staticmethod
    def of(lines: LineLog, key: str) -> QualityLog:
        full, sample, played, held = QualityLog.keys(key)
        return QualityLog(
            ItemLog(lines, full, Outcome),
            ItemLog(lines, sample, QualitySample),
            ItemLog(lines, played, PlayedFigures),
            ItemLog(lines, held, HeldText),
        )
