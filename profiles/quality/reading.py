"""What an agent had read before each token that it wrote, or checked last."""

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
    spans = [span for span in timeline.spans if span.agent == agent]
    levels, missing = np.zeros(tokens, dtype=np.int64), np.zeros(tokens)
    restarts, before = list[int](), tuple[int, ...]()
    for span in spans:
        # What it wrote or checked, and all after that, is as of its reading.
        start = span.written - span.kept_tokens
        restarts = [place for place in restarts if place <= start]
        if 0 < start < tokens and span.read != before:
            restarts.append(start)
        before = span.read
        top = max(span.read, default=0)
        levels[start:] = top
        missing[start:] = sum(
            1 - read / min(top, length)
            for read, length in zip(span.read, lengths, strict=True)
            if min(top, length)
        )
    return Reading(levels, missing, np.array(restarts, dtype=np.int64))
