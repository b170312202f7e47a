"""The task's score as a function of the intrinsic loss, fitted where both were measured.

Some schedules play the same requests for real. Their mean losses x_s and scores y_s are tied by
the non-increasing function that is nearest to them in least squares (isotonic regression; Barlow et
al. 1972, scipy.optimize.isotonic_regression), linear between the schedules' losses and constant
outside of them:

    score(loss) = interpolation of (x_s, ŷ_s),   ŷ = argmin Σ (y_s − ŷ_s)² that falls with x

Schedules that interleave have a curve of their own: a text in another order costs them loss that
costs less score (docs/log.md). Reading everything first belongs to both.

The interval is a bootstrap over requests, drawn alike for all schedules, each curve read off at
a loss drawn from the normal distribution that the forecast loss's interval says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from staircase.metrics import RESAMPLES, Z90, Floats, Summary
from staircase.schedule import Layout

# A curve: losses rising, scores falling.
Curve = tuple[Floats, Floats]
NAN = float("nan")


@dataclass(frozen=True)
class PlayedSchedule:
    """What a schedule gave, by request: nats a token, and the task's score.

    Attributes:
        layout: None for reading everything first, where it does not matter.
    """

    name: str
    layout: Layout | None
    loss: tuple[float, ...]
    score: tuple[float, ...]


@dataclass(frozen=True)
class ScoreFit:
    """Schedules that played the same requests, in the same order."""

    played: tuple[PlayedSchedule, ...]

    def __post_init__(self) -> None:
        lengths = {len(one.loss) for one in self.played} | {len(one.score) for one in self.played}
        if len(self.played) < 2 or len(lengths) != 1 or 0 in lengths:
            raise ValueError("a fit needs two schedules or more over the same requests")

    def for_layout(self, layout: str) -> ScoreFit:
        """The schedules that tell of ``layout``; all of them where those are too few."""
        alike = [
            one
            for one in self.played
            if one.layout is None or (one.layout == "interleave") == (layout == "interleave")
        ]
        return ScoreFit(tuple(alike)) if len(alike) > 1 else self

    def at(self, loss: float) -> float:
        """The score at a mean loss, by all schedules."""
        return float(np.interp(loss, *_curve(self, slice(None))))


def forecast_score(every: ScoreFit, loss: Summary, layout: str) -> Summary:
    """The mean score of a schedule with this forecast loss; of single requests nothing is said."""
    fit = every.for_layout(layout)
    spread = (loss.high - loss.low) / (2 * Z90)
    drawn = np.random.default_rng(0).normal(loss.mean, spread, RESAMPLES)
    pairs = zip(drawn, _resampled(fit), strict=True)
    low, high = np.percentile([np.interp(x, *curve) for x, curve in pairs], [5, 95])
    mean = fit.at(loss.mean)
    return Summary(mean, min(mean, float(low)), max(mean, float(high)), NAN, NAN, NAN)


@lru_cache(maxsize=8)
def _resampled(fit: ScoreFit) -> list[Curve]:
    """Curves of ``RESAMPLES`` draws of the fit's requests."""
    requests = len(fit.played[0].loss)
    drawn = np.random.default_rng(0).integers(0, requests, (RESAMPLES, requests))
    return [_curve(fit, rows) for rows in drawn]


def _curve(fit: ScoreFit, rows: NDArray[np.int64] | slice) -> Curve:
    """Through the means over these requests."""
    losses = np.array([one.loss for one in fit.played])[:, rows].mean(axis=1)
    scores = np.array([one.score for one in fit.played])[:, rows].mean(axis=1)
    order = np.argsort(losses, kind="stable")
    fitted = isotonic_regression(scores[order], increasing=False).x
    return losses[order], np.asarray(fitted)
