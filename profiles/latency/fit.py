"""Non-negative fits of seconds, and how far they are to be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from profiles.surface import Floats, solve_relative

FOLDS = 5


@dataclass(frozen=True)
class Fit:
    """A fitted formula.

    Attributes:
        coefficients: in the order of the formula, for the median seconds of an iteration.
        error: cross-validated median relative error; the largest, where it is more, of the points
            that alone tell a coefficient from another.
        mean_ratio: mean over median of repeated measurements. On a shared machine some iterations
            are much slower, and a sum of many is that much longer than the sum of their medians.
        drift: how far the slowest quarter of the measuring time lay from the fastest, relative.
    """

    coefficients: tuple[float, ...]
    error: float
    mean_ratio: float = 1.0
    drift: float = 0.0

    def scaled(self, factor: float) -> Fit:
        """``factor`` times as slow."""
        return replace(self, mean_ratio=factor * self.mean_ratio)

    @property
    def stated_error(self) -> float:
        """What nine of ten later measurements should keep: the form's error and the drift."""
        return self.error + self.drift


def fit(features: Floats, seconds: Floats, means: Floats) -> Fit:
    """Non-negative least squares of the relative error, with its leave-out error.

    Args:
        features: one row a point, one column a coefficient.
        seconds, means: of each point, the median and the mean of its repetitions.
    """
    coefficients, errors = solve_relative(features, seconds), leave_out_errors(features, seconds)
    unchecked = np.abs(errors[_deciding(features[:, coefficients > 0])])
    return Fit(
        tuple(coefficients.tolist()),
        float(max(np.median(np.abs(errors)), unchecked.max(initial=0.0))),
        float(means.sum() / seconds.sum()),
    )


def _deciding(used: Floats) -> list[int]:
    """Points without which the others do not tell the ``used`` columns apart.

    No other point checks what such a one says, however well the others agree.
    """
    if not used.size:
        return []
    columns = used / used.max(axis=0)
    rank = np.linalg.matrix_rank(columns)
    return [
        number
        for number in range(len(columns))
        if np.linalg.matrix_rank(np.delete(columns, number, axis=0)) < rank
    ]


def leave_out_errors(features: Floats, seconds: Floats) -> Floats:
    """Of each point, predicted from a fit that did not see it: predicted over measured, less 1."""
    fold = np.arange(len(seconds)) % min(FOLDS, len(seconds))
    errors = np.empty_like(seconds)
    for number in np.unique(fold):
        kept = fold != number
        predicted = features[~kept] @ solve_relative(features[kept], seconds[kept])
        errors[~kept] = predicted / seconds[~kept] - 1
    return errors
