"""What a pass of several tokens of each sequence takes, over one of a single token.

    r(w, b)    w tokens of each of b sequences, linear in w and in b between what was measured

A guess makes a pass so wide. What it takes grows from r(1, b) = 1, which nobody measures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from staircase.errors import ProfileError


@dataclass(frozen=True)
class PassRatio:
    """r at one place.

    Attributes:
        spread: median deviation of such passes, relative to their median.
    """

    width: int
    batch: int
    ratio: float
    spread: float


def pass_ratio(known: Sequence[PassRatio], width: int, batch: int = 1) -> float:
    """r(``width``, ``batch``): beyond the widest as on the way to it, and as for the next batch
    that was measured beyond these.

    Raises:
        ProfileError: nothing is known of passes of several tokens.
    """
    if not known:
        raise ProfileError("the profile knows no pass of several tokens")
    by_batch: dict[int, dict[int, float]] = defaultdict(lambda: {1: 1.0})
    for one in known:
        by_batch[one.batch][one.width] = one.ratio
    batches = sorted(by_batch)
    each = [_along(by_batch[size], width) for size in batches]
    return float(np.interp(batch, batches, each))


def _along(ratios: dict[int, float], width: int) -> float:
    widths = sorted(ratios)
    if width <= widths[-1]:
        return float(np.interp(width, widths, [ratios[one] for one in widths]))
    last, before = widths[-1], widths[-2]
    slope = (ratios[last] - ratios[before]) / (last - before)
    return ratios[last] + max(0.0, slope) * (width - last)
