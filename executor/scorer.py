"""Teacher-forced scoring: what would the model have said had it read something else?

A scorer gives the distributions from which tokens of a text were drawn; two of them are compared at
each position by

    loss       KL(full ‖ less) = Σ_i p_i·(ln p_i − ln q_i), in nats
    agreement  1 if both have the same most probable token, else 0
    NLL gap    ln p(y) − ln q(y) of the token y that stands there, in nats: by how much reading less
               makes the text itself less likely
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenFigures:
    """Figures at each position; all have the same length."""

    loss: NDArray[np.float64]
    agreement: NDArray[np.float64]
    nll_gap: NDArray[np.float64]


class Distributions(Protocol):
    """From which the tokens at some positions of a text were drawn."""

    def rows(self, start: int, stop: int | None) -> Distributions: ...

    def against(self, less: Distributions) -> TokenFigures:
        """Compares with ``less``, of the same scorer and the same tokens, read less."""
        ...

    def behind_best(self) -> NDArray[np.float64]:
        """``ln max_i p_i − ln p(y)`` at each position, of the token y that stands there, in nats.

        So 0 where greedy writing puts y; i are the tokens that the model may write.
        """
        ...


@dataclass(frozen=True)
class ForcedText:
    """Token ids, and the positions that are asked for; none of them 0."""

    ids: Sequence[int]
    positions: Sequence[int]


class Scorer(Protocol):
    """Scores texts with one model."""

    def score(self, texts: Sequence[ForcedText]) -> Iterator[Distributions]:
        """One for each text, in order.

        Raises:
            EngineError: a text could not be scored.
        """
        ...
