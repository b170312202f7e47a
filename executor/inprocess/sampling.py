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

from executor.draws import TextPosition, draw_seed


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
        seeds = [draw_seed(self._sampling.seed, place) for place in places]
        return draw(self._warpers(nothing, scores), torch.tensor(seeds))


def _warpers(sampling: Sampling) -> LogitsProcessorList:
    """In the order of transformers and vLLM."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k is not None:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers


def draw(scores: Tensor, seeds: Tensor) -> Tensor:
    """Tokens [B] distributed as softmax of ``scores`` [B, V], by ``seeds`` [B] of 64 bits.

    The first of a race: each token takes an exponential time of its own over its probability
    (Gumbel's trick). Passes of other widths round logits otherwise. Where one number decides by the
    sum of all probabilities before a token, that moves every border between tokens, so in the many
    unlikely ones another is drawn; here only who wins by a hair may change.
    """
    times = exponentials(seeds.to(scores.device), scores.shape[-1])
    return (scores - times.log()).argmax(-1)


def exponentials(seeds: Tensor, count: int) -> Tensor:
    """For each of ``seeds`` [B] so many numbers [B, count], exponential with mean 1, above 0.

    SplitMix64 (Steele, Lea, Flood 2014) of seed and place; on every device the same but for the
    last digits of logarithms.
    """
    places = torch.arange(1, count + 1, device=seeds.device)
    mixed = _mix(seeds[:, None] + places * _GAMMA)
    # 52 bits and a half: neither 0 nor, rounded, 1.
    uniforms = (_shifted(mixed, 12).double() + 0.5) * 2.0**-52
    return -uniforms.log()


# SplitMix64's constants, as signed numbers.
_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


def _mix(numbers: Tensor) -> Tensor:
    numbers = (numbers ^ _shifted(numbers, 30)) * _FIRST
    numbers = (numbers ^ _shifted(numbers, 27)) * _SECOND
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """To the right, with zeros on the left; torch's own keeps the sign."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)
