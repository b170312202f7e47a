"""How much of a text stands when it is checked, drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from staircase.errors import WorkloadError


@dataclass(frozen=True)
class CheckedText:
    """What ``agent`` checks in ``step``: ``tokens`` of its text, after the first ``settled``.

    Attributes:
        before: tokens of each source that it had read when it wrote or checked them last.
        read: those that it has read now.
        layout: of its prompts.
    """

    agent: str
    step: int
    settled: int
    tokens: int
    before: tuple[int, ...]
    read: tuple[int, ...]
    layout: str


class Acceptance(Protocol):
    """Of one request."""

    def kept_tokens(self, checked: CheckedText) -> int:
        """How many of the first tokens stand."""
        ...


@dataclass(frozen=True)
class EvenAcceptance:
    """Each token stands with probability ``rate``, if all before it do."""

    rate: float
    seed: int = 0

    def __post_init__(self) -> None:
        # So written, the comparison fails for NaN as well.
        if not 0 <= self.rate <= 1:
            raise WorkloadError(f"acceptance is {self.rate}, must be from 0 to 1")

    def kept_tokens(self, checked: CheckedText) -> int:
        if self.rate == 1:
            return checked.tokens
        if self.rate == 0:
            return 0
        kept = math.floor(math.log(drawn(self.seed, checked)) / math.log(self.rate))
        return min(kept, checked.tokens)


def drawn(seed: int, checked: CheckedText) -> float:
    """From (0, 1]; it belongs to the agent and the step: neither when it is drawn nor what else is
    drawn matters."""
    words = [seed, checked.step, *checked.agent.encode()]
    return float(1 - np.random.default_rng(words).random())
