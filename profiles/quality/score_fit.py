"""The task's score as a function of the agreement, fitted where both were measured.

Some schedules play the same requests for real. Their mean agreements x_s (with full reading, 1 is
full) and scores y_s are tied by the non-decreasing function that is nearest to them in least
squares (isotonic regression; Barlow et al. 1972, scipy.optimize.isotonic_regression), linear
between the schedules' agreements and constant outside of them:

    score(agreement) = interpolation of (x_s, ŷ_s),   ŷ = argmin Σ (y_s − ŷ_s)² that rises with x

Agreement, not loss: a token that another one stands in for costs score, however sure the model was
of it (docs/log.md). Schedules that interleave have a curve of their own: a text in another order
costs agreement that costs less score. Reading everything first belongs to both.

The interval is a bootstrap over requests, drawn alike for all schedules, each curve read off at an
agreement drawn from the normal distribution that the forecast agreement's interval says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from profiles.quality.calibration import PlayedSchedule, alike
from staircase.metrics.request_metrics import RESAMPLES, Z90, Floats, Summary

# A curve: agreements and scores, both rising.
Curve = tuple[Floats, Floats]
NAN = float("nan")


@dataclass(frozen=True)
class ScoreFit:
    """Schedules that played the same requests, in the same order."""

    played: tuple[PlayedSchedule, ...]

    def __post_init__(self) -> None:
        lengths = {len(f or ()) for one in self.played for f in (one.agreement, one.score)}
        if len(self.played) < 2 or len(lengths) != 1 or 0 in lengths:
            raise ValueError("a fit needs two schedules or more over the same requests")

    @staticmethod
    def of(played: Sequence[PlayedSchedule]) -> ScoreFit | None:
        """None where there are no scores."""
        scored = tuple(one for one in played if one.score)
        return ScoreFit(scored) if len(scored) > 1 else None

    def for_layout(self, layout: str) -> ScoreFit:
        """The schedules that tell of ``layout``; all of them where those are too few."""
        some = alike(self.played, layout)
        return ScoreFit(tuple(some)) if len(some) > 1 else self

    def at(self, agreement: float) -> float:
        """The score at a mean agreement, by all schedules."""
        return float(np.interp(agreement, *_curve(self, slice(None))))


def forecast_score(every: ScoreFit, agreement: Summary, layout: str) -> Summary:
    """The mean score of a schedule that is so forecast; of single requests nothing is said."""
    fit = every.for_layout(layout)
    spread = (agreement.high - agreement.low) / (2 * Z90)
    drawn = np.random.default_rng(0).normal(agreement.mean, spread, RESAMPLES)
    pairs = zip(drawn, _resampled(fit), strict=True)
    low, high = np.percentile([np.interp(x, *curve) for x, curve in pairs], [5, 95])
    mean = fit.at(agreement.mean)
    return Summary(mean, min(mean, float(low)), max(mean, float(high)), NAN, NAN, NAN)


@lru_cache(maxsize=8)
def _resampled(fit: ScoreFit) -> list[Curve]:
    """Curves of ``RESAMPLES`` draws of the fit's requests."""
    requests = len(fit.played[0].agreement)
    drawn = np.random.default_rng(0).integers(0, requests, (RESAMPLES, requests))
    return [_curve(fit, rows) for rows in drawn]


def _curve(fit: ScoreFit, rows: NDArray[np.int64] | slice) -> Curve:
    """Through the means over these requests."""
    agreements = np.array([one.agreement for one in fit.played])[:, rows].mean(axis=1)
    scores = np.array([one.score for one in fit.played])[:, rows].mean(axis=1)
    order = np.argsort(agreements, kind="stable")
    fitted = isotonic_regression(scores[order], increasing=True).x
    return agreements[order], np.asarray(fitted)
