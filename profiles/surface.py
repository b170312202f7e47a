"""Surfaces through scattered measurements: a physical form, corrected by what was measured nearby.

    s(x) = (Σ_j p_j·f_j(x)) · exp(Σ_i w_i·r_i / Σ_i w_i),  w_i = 1 / |log2(1 + x) − log2(1 + x_i)|³

The coefficients p_j are non-negative and minimize relative errors; r_i is the logarithm of measured
over form at the measured x_i. At a measured x it is the measurement, far from all of them the form
times their mean ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# From arguments, one row a point, to features, one row a point.
Form = Callable[[Floats], Floats]
POWER = 3
# Rows at a time, which bounds memory.
BATCH = 4096


@dataclass(frozen=True)
class FittedSurface:
    """A fitted form and the ratios that correct it, at ``places`` = log2(1 + arguments)."""

    form: Form
    coefficients: Floats
    places: Floats
    log_ratios: Floats

    def __call__(self, arguments: Floats) -> Floats:
        """Seconds at each row of ``arguments``."""
        starts = range(0, len(arguments), BATCH)
        parts = [self._seconds(arguments[start : start + BATCH]) for start in starts]
        return np.concatenate(parts)

    def at(self, *arguments: float) -> float:
        return float(self(np.array([arguments], dtype=float))[0])

    def _seconds(self, arguments: Floats) -> Floats:
        places = np.log2(1 + arguments)
        squares = ((places[:, None] - self.places) ** 2).sum(axis=2)
        weights = np.maximum(squares, 1e-9) ** (-POWER / 2)
        log_ratio = weights @ self.log_ratios / weights.sum(axis=1)
        return np.asarray(self.form(arguments) @ self.coefficients * np.exp(log_ratio))


def fit_surface(form: Form, arguments: Sequence[Sequence[float]], seconds: Floats) -> FittedSurface:
    """The surface through ``seconds``, all above 0, at ``arguments``."""
    rows = np.asarray(arguments, dtype=float)
    features = form(rows)
    coefficients = solve_relative(features, seconds)
    log_ratios = np.log(seconds / (features @ coefficients))
    return FittedSurface(form, coefficients, np.log2(1 + rows), log_ratios)


def solve_relative(features: Floats, seconds: Floats) -> Floats:
    """Non-negative least squares of the relative error."""
    # Only fits need it, and it takes longer to import than a simulation to run.
    from scipy.optimize import nnls

    relative = features / seconds[:, None]
    scale = np.maximum(relative.max(axis=0), 1e-300)
    solution, _ = nnls(relative / scale, np.ones_like(seconds))
    return np.asarray(solution / scale)
