"""Corrections of a latency profile, where forecasts and runs on the real engines differ.

Few, and each of something physical, so that they hold for other schedules too:

    prefill, decode   factors on what these cost
    contention        of turns with other engines on the device, in place of the profile's
    call_s            fixed seconds for each call, in place of the profile's

``fit_seconds`` estimates such parameters x from measured seconds y of parts of requests, of which
the forecast f and its derivatives J at x₀ are known: y ≈ f + J·(x − x₀).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from profiles.surface import Floats

# Relative deviations beyond this count by their size, no longer by its square.
OUTLIER = 0.1
# Holds a parameter that no part depends on where it was.
HOLD = 1e-3


@dataclass(frozen=True)
class Correction:
    """What one engine's profile is to be changed to; factors are 1 where nothing is."""

    prefill: float
    decode: float
    contention: float
    call_s: float

    def at(self, pace: float) -> Correction:
        """The same where the machine takes ``pace`` times as long."""
        return replace(
            self,
            prefill=pace * self.prefill,
            decode=pace * self.decode,
            call_s=pace * self.call_s,
        )


@dataclass(frozen=True)
class EvaluatedRound:
    """How well a forecast met runs that its corrections were not fitted on.

    Attributes:
        pace: of the machine in these runs; 1 is that of the measured profile.
        untuned, tuned: median relative error of the schedules' TTFT as it was forecast, from the
            measured profile and from the corrected one.
        at_pace: the same of the corrected profile, for the pace of these very runs.
    """

    number: int
    schedules: int
    requests: int
    pace: float
    untuned: float
    tuned: float
    at_pace: float


@dataclass(frozen=True)
class Tuning:
    """Where a corrected profile comes from.

    Attributes:
        base: hash of the measured profile.
        corrections: by engine; the profile's fits hold them already.
        pace: that the corrections hold for, the last round's.
        fitted_on: numbers of the rounds whose runs they were fitted on.
    """

    base: str
    corrections: Mapping[str, Correction]
    pace: float
    fitted_on: tuple[int, ...]
    rounds: tuple[EvaluatedRound, ...]


def fit_seconds(
    measured: Floats, forecast: Floats, slopes: Floats, start: Floats, lowest: Floats
) -> Floats:
    """Parameters, none below ``lowest``, by least squares of relative deviations.

    Robust: a part that is far off pulls no more than one that is ``OUTLIER`` off.

    Args:
        measured, forecast: seconds of each part.
        slopes: [parts, parameters], of the forecast at ``start``.
    """
    scale = np.concatenate([forecast, np.ones(len(start))])
    rows = np.vstack([slopes, HOLD * np.eye(len(start))])
    wanted = np.concatenate([measured - forecast, np.zeros(len(start))])

    def deviations(change: Floats) -> Floats:
        found: Floats = (rows @ change - wanted) / scale
        return found

    def jacobian(change: Floats) -> Floats:
        found: Floats = rows / scale[:, None]
        return found

    solved = least_squares(
        deviations,
        np.maximum(np.zeros(len(start)), lowest - start),
        jac=jacobian,
        bounds=(lowest - start - 1e-12, np.inf),
        loss="soft_l1",
        f_scale=OUTLIER,
    )
    found: Floats = np.maximum(start + solved.x, lowest)
    return found
