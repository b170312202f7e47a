"""Schedules that were played for real when a quality profile was made.

The surfaces of a profile are measured on texts that were written after reading everything. Under a
schedule an agent writes another text, on which reading less costs somewhat less or more. By how
much is seen where both are known:

    c = Σ (measured − r) / Σ (forecast − r)   over the played schedules and their requests

separately for what interleaves and what does not; r is what appended rounds cost, which does not
depend on the text as much. Forecast losses but for r are multiplied by c, and shares of tokens that
disagree likewise. How far single schedules are from it widens the interval: by the
quantile of Student's t, as those that were played are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from staircase.metrics.request_metrics import Z90, Summary
from staircase.schedule import Layout


@dataclass(frozen=True)
class PlayedSchedule:
    """What a schedule gave, by request, beside its forecast before any calibration.

    Attributes:
        layout: None for reading everything first, where it does not matter.
        loss: nats a token.
        agreement: with full reading, as a share of the tokens.
        rounds_loss, rounds_disagreement: what appended rounds cost of the forecast.
        score: of the task, if it has one.
    """

    name: str
    layout: Layout | None
    loss: tuple[float, ...]
    agreement: tuple[float, ...]
    forecast_loss: tuple[float, ...]
    forecast_agreement: tuple[float, ...]
    rounds_loss: tuple[float, ...]
    rounds_disagreement: tuple[float, ...]
    score: tuple[float, ...] | None = None


def alike(played: Sequence[PlayedSchedule], layout: str) -> list[PlayedSchedule]:
    """Those that tell of ``layout``: only those that interleave tell of interleaving.

    Reading everything first belongs to both.
    """
    return [
        one
        for one in played
        if one.layout is None or (one.layout == "interleave") == (layout == "interleave")
    ]


@dataclass(frozen=True)
class Calibration:
    """What forecast losses but for rounds are multiplied by, and how far off they may be then.

    Attributes:
        spread: of single schedules around it, over their mean loss; half of a 90 % interval.
        error: of all of them together, likewise, as the requests are few.
    """

    factor: float = 1.0
    spread: float = 0.0
    error: float = 0.0

    @staticmethod
    def of(
        forecast: Sequence[Sequence[float]],
        measured: Sequence[Sequence[float]],
        rounds: Sequence[Sequence[float]],
    ) -> Calibration:
        """From the losses of several schedules, by request: [schedules, requests].

        Args:
            rounds: what appended rounds cost of the forecast.
        """
        x, y, r = (np.array(table, dtype=float) for table in (forecast, measured, rounds))
        if not x.size or (x - r).sum() <= 0 or (y - r).sum() <= 0:
            return Calibration()
        factor = float((y - r).sum() / (x - r).sum())
        left = y - r - factor * (x - r)
        spread = _t90(len(left)) * _deviation(left.mean(axis=1)) / y.mean()
        error = Z90 * _deviation(left.mean(axis=0)) / y.mean() / np.sqrt(left.shape[1])
        return Calibration(factor, float(spread), float(error))

    def corrected(self, loss: float, rounds: float) -> float:
        """``loss``, of which ``rounds`` is what appended rounds cost."""
        return self.factor * (loss - rounds) + rounds

    def widened(self, loss: Summary) -> Summary:
        """Corrected losses, with how far off they may be."""
        mean, sampled = max(loss.mean, 0.0), (loss.high - loss.low) / 2
        half = float(np.hypot(sampled, mean * np.hypot(self.spread, self.error)))
        return replace(loss, mean=mean, low=max(mean - half, 0.0), high=mean + half)


def _t90(count: int) -> float:
    """Standard deviations to the ends of a 90 % interval, if so many values tell of them."""
    # Only forecasts of quality need it, and it takes longer to import than a simulation.
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 0.95)) if count > 1 else 0.0


def _deviation(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def loss_calibration(played: Sequence[PlayedSchedule], layout: str) -> Calibration:
    some = [one for one in alike(played, layout) if one.layout is not None]
    return Calibration.of(
        [one.forecast_loss for one in some],
        [one.loss for one in some],
        [one.rounds_loss for one in some],
    )


def disagreement_calibration(played: Sequence[PlayedSchedule], layout: str) -> Calibration:
    some = [one for one in alike(played, layout) if one.layout is not None]
    forecast = [[1 - share for share in one.forecast_agreement] for one in some]
    measured = [[1 - share for share in one.agreement] for one in some]
    return Calibration.of(forecast, measured, [one.rounds_disagreement for one in some])
