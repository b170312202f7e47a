"""Which of several points nobody beats; every coordinate should be small."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray


def front_of(points: ArrayLike) -> list[int]:
    """Numbers of the points, [points, objectives], that no other beats, by the first objective.

    Of equal points the first stays.
    """
    rows = np.asarray(points, dtype=float)
    rows = rows.reshape(len(rows), -1)
    order = np.lexsort((np.arange(len(rows)), *rows.T[::-1]))
    front: list[int] = []
    # In this order nobody is beaten by a later one.
    for number in order.tolist():
        if not _is_beaten(rows[number], rows[front]):
            front.append(number)
    return front


def _is_beaten(point: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    return bool(np.any(np.all(others <= point, axis=1)))


def corner_of(points: ArrayLike) -> list[float]:
    """Just beyond the worst of ``points`` in every objective, so that each beats some volume."""
    rows = np.asarray(points, dtype=float)
    worst, best = rows.max(axis=0), rows.min(axis=0)
    corner: list[float] = (worst + 0.01 * (worst - best) + 1e-9).tolist()
    return corner


def hypervolume(points: Sequence[Sequence[float]], corner: Sequence[float]) -> float:
    """The volume below ``corner`` that points of one objective or more beat.

    By slices between neighbouring values of the last objective; for some hundred points.
    """
    inside = [tuple(p) for p in points if all(x < c for x, c in zip(p, corner, strict=True))]
    if not inside:
        return 0.0
    if len(corner) == 1:
        return corner[0] - min(inside)[0]
    rising = sorted((inside[number] for number in front_of(inside)), key=lambda point: point[-1])
    ends = [*(point[-1] for point in rising[1:]), corner[-1]]
    if len(corner) == 2:
        firsts = accumulate((point[0] for point in rising), min)
        sides = [corner[0] - first for first in firsts]
    else:
        slices = (rising[: count + 1] for count in range(len(rising)))
        sides = [hypervolume([p[:-1] for p in those], corner[:-1]) for those in slices]
    heights = [end - point[-1] for point, end in zip(rising, ends, strict=True)]
    return sum(side * height for side, height in zip(sides, heights, strict=True))
