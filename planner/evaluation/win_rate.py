"""Win rates from a judge's rulings on pairs of answers.

Each pair is two games with the order swapped. For the candidate a game is 1 if it wins, 1/2 for a
tie, 0 if it loses; s is the mean of a pair's two games. Pairs without two verdicts count nowhere.

    win rate           mean of s, a tie being half a win
    Arena-Hard         Σ w·g / Σ w over games, w = 3 for "much better", 1 else (Li et al. 2024,
                       arXiv 2406.11939, and its show_result.py)
    length-controlled  1/(1 + exp(-θ)), where θ and φ are fitted by logistic regression to
                       s ~ 1/(1 + exp(-(θ + φ·tanh((len_c - len_b)/σ))))
                       with σ the standard deviation of the difference of lengths, in characters:
                       what the win rate would be if both wrote as much (Dubois et al. 2024, arXiv
                       2404.04475). Their third term, the difficulty of each instruction, is fitted
                       over many models and is left out, as here there are two. A normal prior
                       (standard deviation 10) keeps θ and φ finite; they choose an L1 penalty by
                       cross-validation.

Intervals hold 90 %: percentiles of a bootstrap over pairs, since the games of one pair are alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import bootstrap

from executor.scoring.verdicts import Ruling
from staircase.metrics.request_metrics import RESAMPLES, Floats

STRONG_WEIGHT = 3.0
PRIOR_SD = 10.0
FATES = ("verdict", "identical", "refusal", "unparsable", "failed")


@dataclass(frozen=True)
class JudgedPair:
    """One request's answers by both runs.

    Attributes:
        first, second: rulings with the baseline's answer first, and with the candidate's first.
        extra_chars: by how many characters the candidate's answer is longer.
    """

    request: int
    first: Ruling
    second: Ruling
    extra_chars: int

    @property
    def strengths(self) -> tuple[int, int] | None:
        """How much better the candidate is in both games; None without two verdicts."""
        if self.first.strength is None or self.second.strength is None:
            return None
        return -self.first.strength, self.second.strength


@dataclass(frozen=True)
class Rate:
    """A share with its 90 % interval; NaN where there is too little to say."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class WinRates:
    """The candidate beside the baseline.

    Attributes:
        pairs: all that both runs answered.
        judged: those with two verdicts; ``wins``, ``ties`` and ``losses`` are of them.
        inconsistent: pairs in which the verdict turned with the order: each game names another
            winner.
        first_wins: how often the answer that stood first won, a tie being half a win.
        fates: games by what became of them.
        length_effect: φ; above 0 the judge prefers longer answers.
    """

    pairs: int
    judged: int
    wins: int
    ties: int
    losses: int
    inconsistent: int
    first_wins: float
    fates: dict[str, int]
    win_rate: Rate
    arena_hard: Rate
    length_controlled: Rate
    length_effect: float


def win_rates(pairs: Sequence[JudgedPair]) -> WinRates:
    """Of all ``pairs``; nothing is dropped without being counted."""
    judged = [(pair.strengths, pair.extra_chars) for pair in pairs if pair.strengths]
    strengths = np.array([both for both, _ in judged], dtype=float).reshape(-1, 2)
    extra = np.array([chars for _, chars in judged], dtype=float)
    scores = pair_scores(strengths)
    rulings = [ruling for pair in pairs for ruling in (pair.first, pair.second)]
    return WinRates(
        pairs=len(pairs),
        judged=len(judged),
        wins=int((scores > 0.5).sum()),
        ties=int((scores == 0.5).sum()),
        losses=int((scores < 0.5).sum()),
        inconsistent=int((strengths.prod(axis=1) < 0).sum()),
        first_wins=plain(strengths * [-1, 1], extra) if judged else math.nan,
        fates={fate: sum(ruling.fate == fate for ruling in rulings) for fate in FATES},
        win_rate=_rate(plain, strengths, extra),
        arena_hard=_rate(arena_hard, strengths, extra),
        length_controlled=_rate(length_controlled, strengths, extra),
        length_effect=float(length_fit(scores, extra)[1]) if judged else math.nan,
    )


# Of how much better the candidate is [pairs, games], and by how many characters longer [pairs].
Statistic = Callable[[Floats, Floats], float]


def pair_scores(strengths: Floats) -> Floats:
    return np.asarray((np.sign(strengths) + 1).mean(axis=1) / 2)


def plain(strengths: Floats, extra_chars: Floats) -> float:
    return float(pair_scores(strengths).mean())


def arena_hard(strengths: Floats, extra_chars: Floats) -> float:
    weights = np.where(np.abs(strengths) == 2, STRONG_WEIGHT, 1.0)
    return float((weights * (np.sign(strengths) + 1) / 2).sum() / weights.sum())


def length_controlled(strengths: Floats, extra_chars: Floats) -> float:
    return float(expit(length_fit(pair_scores(strengths), extra_chars)[0]))


def length_fit(scores: Floats, extra_chars: Floats) -> Floats:
    """(θ, φ) of the logistic regression of ``scores`` [n] on differences of lengths [n]."""
    spread = float(np.std(extra_chars, ddof=1)) if len(extra_chars) > 1 else 0.0
    x = np.tanh(extra_chars / spread) if spread else np.zeros(len(extra_chars))
    design = np.column_stack([np.ones(len(x)), x])

    def loss(weights: Floats) -> tuple[float, Floats]:
        """Minus the log-posterior, and its gradient."""
        logits = design @ weights
        likelihood = np.logaddexp(0, logits) - scores * logits
        prior = weights / PRIOR_SD**2
        gradient = design.T @ (expit(logits) - scores) + prior
        return float(likelihood.sum() + weights @ prior / 2), gradient

    return np.asarray(minimize(loss, np.zeros(2), jac=True).x)


def _rate(statistic: Statistic, strengths: Floats, extra_chars: Floats) -> Rate:
    """``statistic`` with its bootstrap interval over pairs."""
    if not len(extra_chars):
        return Rate(math.nan, math.nan, math.nan)
    value = statistic(strengths, extra_chars)
    if len(extra_chars) == 1:
        return Rate(value, math.nan, math.nan)

    def resampled(rows: NDArray[np.int64]) -> float:
        return statistic(strengths[rows], extra_chars[rows])

    interval = bootstrap(
        (np.arange(len(extra_chars)),),
        resampled,
        n_resamples=RESAMPLES,
        vectorized=False,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Rate(value, float(interval.low), float(interval.high))
