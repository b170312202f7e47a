"""What an agent had read before each token that it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from staircase.timeline import Timeline


@dataclass(frozen=True)
class Reading:
    """Of one agent in one request, [tokens].

    Attributes:
        levels: v(t), the most that was shown of any source.
        missing: m(t), how much of the others was not: Σ_i (1 − read_i / min(v, length_i)).
        restarts: own positions, none of them 0, right before which something new was read.
        rounds: n(t), in how many rounds so much was read.
    """

    levels: NDArray[np.int64]
    missing: NDArray[np.float64]
    restarts: NDArray[np.int64]

    @property
    def rounds(self) -> NDArray[np.int64]:
        own = np.arange(len(self.levels))
        return np.asarray(1 + np.searchsorted(self.restarts, own, side="right"), dtype=np.int64)


def read_along(timeline: Timeline, agent: str, tokens: int, lengths: Sequence[int]) -> Reading:
    """What ``agent`` had read of its sources, which end after ``lengths`` tokens."""
    spans = sorted((s for s in timeline.spans if s.agent == agent), key=lambda span: span.written)
    levels, missing = np.zeros(tokens, dtype=np.int64), np.zeros(tokens)
    restarts, before = [], tuple[int, ...]()
    for span in spans:
        if 0 < span.written < tokens and span.read != before:
            restarts.append(span.written)
        before = span.read
        top = max(span.read, default=0)
        levels[span.written :] = top
        missing[span.written :] = sum(
            1 - read / min(top, length)
            for read, length in zip(span.read, lengths, strict=True)
            if min(top, length)
        )
    return Reading(levels, missing, np.array(restarts, dtype=np.int64))
