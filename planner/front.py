"""Which of several points nobody beats; every coordinate should be small."""

from __future__ import annotations

from collections.abc import Sequence

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


def hypervolume(points: Sequence[tuple[float, float]], corner: tuple[float, float]) -> float:
    """The area below ``corner`` that points of two objectives beat."""
    area, height = 0.0, corner[1]
    for number in front_of(points):
        x, y = points[number]
        if x < corner[0] and y < height:
            area += (corner[0] - x) * (height - y)
            height = y
    return area
