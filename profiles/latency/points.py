"""Measured iterations, and the terms of a latency profile's formulas at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiles.surface import Floats

PREFILL_KNOTS = (16, 64, 256, 1024)
# Place of q, the first term of attention, and after r, the last, among those of a prefill.
ATTENTION = 2 + len(PREFILL_KNOTS)
PREFILL_TERMS, DECODE_TERMS = ATTENTION + 2, 3
# Of experts: up to so many tokens each activates more of them.
EXPERT_KNOTS = (2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class PrefillPoint:
    """An iteration that prefills.

    Attributes:
        seconds: median over repetitions.
        spread: median deviation, relative to the median.
        mean_ratio: mean over median.
        prompts: as many of these at once.
    """

    new_tokens: int
    cached_tokens: int
    seconds: float
    spread: float
    mean_ratio: float
    prompts: int = 1


@dataclass(frozen=True)
class DecodePoint:
    """The same for an iteration that decodes ``batch`` sequences with this context in all."""

    batch: int
    context_tokens: int
    seconds: float
    spread: float
    mean_ratio: float


@dataclass(frozen=True)
class MixedPoint:
    """The same for an iteration that prefills ``new_tokens`` beside ``batch`` that decode."""

    new_tokens: int
    batch: int
    context_tokens: int
    seconds: float
    spread: float
    mean_ratio: float


@dataclass(frozen=True)
class WidePoint:
    """The same for a pass that computes ``width`` tokens of each of ``batch`` sequences, of which
    all but one are guessed."""

    width: int
    batch: int
    context_tokens: int
    seconds: float
    spread: float
    mean_ratio: float


def seconds_of(points: Sequence[PrefillPoint] | Sequence[DecodePoint]) -> Floats:
    return np.asarray([point.seconds for point in points])


def prefill_rows(points: Sequence[PrefillPoint], has_experts: bool = False) -> Floats:
    rows = [prefill_features(p.new_tokens, p.cached_tokens, p.prompts) for p in points]
    return np.asarray(rows)[:, : None if has_experts else PREFILL_TERMS]


def decode_rows(points: Sequence[DecodePoint], has_experts: bool = False) -> Floats:
    rows = [decode_features(p.batch, p.context_tokens) for p in points]
    return np.asarray(rows)[:, : None if has_experts else DECODE_TERMS]


def prefill_features(new: int, cached: int, prompts: int = 1) -> list[float]:
    """The terms of a dense model, then those of experts."""
    tokens = new * prompts
    bends = [max(0.0, tokens - knot) for knot in PREFILL_KNOTS]
    attention = [tokens * (cached + (new + 1) / 2), prompts * cached]
    return [1.0, tokens, *bends, *attention, *_expert_features(tokens)]


def decode_features(batch: int, context: int) -> list[float]:
    """The same of decoding."""
    return [1.0, batch, context, *_expert_features(batch)]


def _expert_features(tokens: int) -> list[float]:
    return [float(min(tokens, knot)) for knot in EXPERT_KNOTS]
