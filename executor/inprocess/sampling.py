"""How a model's next token is chosen from its logits: the likeliest, or drawn with a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from executor.draws import TextPosition, uniform


@dataclass(frozen=True)
class Sampling:
    """What is drawn from; temperature 0 is greedy.

    Attributes:
        top_k: only the ``top_k`` likeliest tokens, and those as likely as the last of them.
        top_p: of these, after temperature, the fewest likeliest ones whose sum is ``top_p``.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    seed: int = 0


GREEDY = Sampling()


class Chooser:
    """Chooses tokens as ``sampling`` says, in two parts: a CUDA graph may hold the first.

    Args:
        below: only tokens below this; None: any.
    """

    def __init__(self, sampling: Sampling, below: int | None = None) -> None:
        self._sampling = sampling
        self._below = below
        self._is_greedy = sampling.temperature == 0
        self._warpers = LogitsProcessorList() if self._is_greedy else _warpers(sampling)

    def in_pass(self, logits: Tensor) -> Tensor:
        """What leaves a pass with logits [B, V]: the likeliest tokens [B], or logits."""
        known = logits[..., : self._below]
        return known.argmax(-1) if self._is_greedy else known

    def tokens(self, left: Tensor, places: Sequence[TextPosition]) -> list[int]:
        """The tokens at ``places``, B of them; ``left`` is what ``in_pass`` gave for them."""
        chosen = left if self._is_greedy else self._draw(left, places)
        return [int(token) for token in chosen.tolist()]

    def in_order(self, left: Tensor, places: Sequence[TextPosition]) -> Iterator[int]:
        """The same, one after the other: what is drawn costs nothing unless it is asked for."""
        if self._is_greedy:
            yield from self.tokens(left, places)
            return
        for row, place in enumerate(places):
            yield self.tokens(left[row : row + 1], [place])[0]

    def _draw(self, logits: Tensor, places: Sequence[TextPosition]) -> Tensor:
        scores = logits.double()
        # From the greatest down, so that no temperature makes one infinite.
        scores = scores - scores.amax(-1, keepdim=True)
        # Warpers are also given the tokens before, at which none of these looks.
        nothing = cast("torch.LongTensor", torch.empty(len(scores), 0, dtype=torch.long))
        uniforms = [uniform(self._sampling.seed, place) for place in places]
        return draw(self._warpers(nothing, scores), torch.tensor(uniforms, dtype=torch.float64))


def _warpers(sampling: Sampling) -> LogitsProcessorList:
    """In the order of transformers and vLLM."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k is not None:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers


def draw(scores: Tensor, uniforms: Tensor) -> Tensor:
    """Tokens [B] distributed as softmax of ``scores`` [B, V], by ``uniforms`` [B] in [0, 1).

    The inverse of the distribution function: one number a token, and rows know nothing of each
    other. A number of 53 bits never reaches the sum, so a token of probability 0 is never drawn.
    """
    sums = scores.softmax(-1).cumsum(-1)
    marks = uniforms.to(sums.device)[:, None] * sums[:, -1:]
    # Of logits that are not numbers nothing can be drawn; the last token is at least a token.
    return torch.searchsorted(sums, marks, right=True)[:, 0].clamp(max=scores.shape[-1] - 1)
