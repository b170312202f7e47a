"""How much of a text stands when it is checked, drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from staircase.errors import WorkloadError


@dataclass(frozen=True)
class Acceptance:
    """Of one request: each token stands with probability ``rate``, if all before it do.

    A draw belongs to its agent and step: neither when it is made nor what else is drawn matters.
    """

    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        # So written, the comparison fails for NaN as well.
        if not 0 <= self.rate <= 1:
            raise WorkloadError(f"acceptance is {self.rate}, must be from 0 to 1")

    def kept_tokens(self, agent: str, step: int, checked: int) -> int:
        """Of the tokens that ``agent`` checks in ``step``, how many of the first stand."""
        if self.rate == 1:
            return checked
        words = [self.seed, step, *agent.encode()]
        drawn = 1 - np.random.default_rng(words).random()
        return min(checked, _runs_to(self.rate, drawn))


def _runs_to(rate: float, drawn: float) -> int:
    """The largest n for which rate^n is ``drawn`` or more; ``drawn`` is in (0, 1]."""
    return math.floor(math.log(drawn) / math.log(rate)) if rate > 0 else 0
