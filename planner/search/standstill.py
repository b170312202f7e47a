"""When a search has found what it will find: the front's hypervolume stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from planner.figures.front import corner_of, hypervolume

# So much more hypervolume is none.
LEAST_GAIN = 1e-3
# The search ends after so many generations without any.
PATIENCE = 5

Points = Sequence[tuple[float, ...]]


@dataclass
class Standstill:
    """Watches the costs of a front, generation by generation."""

    _front: Points = field(default_factory=tuple)
    _idle: int = 0

    def sees(self, front: Points) -> bool:
        """Whether the search may end, now that ``front`` is what nobody beats.

        The corner is the worst of this front and the last, so that both are measured alike.
        """
        both = [p for p in (*front, *self._front) if np.all(np.isfinite(p))]
        if not both:
            gained = False
        else:
            corner = corner_of(both)
            now, before = hypervolume(front, corner), hypervolume(self._front, corner)
            gained = before < now * (1 - LEAST_GAIN)
        self._front = front
        self._idle = 0 if gained else self._idle + 1
        return self._idle >= PATIENCE
