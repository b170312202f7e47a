"""Masks of passes over several slots, whose rows have lengths that transformers does not know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from staircase.errors import ModelError

FULL, SLIDING = "full_attention", "sliding_attention"


def other_kinds(config: Any) -> list[str]:
    """Of its layers, those that keep something else than keys and values of all tokens."""
    return sorted(set(getattr(config, "layer_types", None) or ()) - {FULL, SLIDING})


@dataclass(frozen=True)
class Sight:
    """How far a model's layers look back.

    Attributes:
        sliding_tokens: what layers with a sliding window see; None if there are none.
        is_mixed: whether other layers see everything, so that the model takes a mask for each kind.
    """

    sliding_tokens: int | None
    is_mixed: bool

    @staticmethod
    def of(config: Any) -> Sight:
        """What ``config`` says of its layers.

        Raises:
            ModelError: some layers keep something else than keys and values of all tokens.
        """
        tokens = getattr(config, "sliding_window", None)
        kinds = getattr(config, "layer_types", None)
        if kinds is None:
            return Sight(tokens, is_mixed=False)
        for kind in other_kinds(config):
            raise ModelError(
                f"slots: {config.model_type} has layers with {kind}, which only slots: 1 can run"
            )
        return Sight(tokens if SLIDING in kinds else None, is_mixed=True)

    def masks(
        self, positions: Tensor, window: int, dtype: torch.dtype
    ) -> Tensor | dict[str, Tensor]:
        """For a token at each of ``positions`` [B, T] over W = ``window``; [B, 1, T, W], added."""
        places = torch.arange(window, device=positions.device)
        own = positions[:, :, None]
        full = _added(places <= own, dtype)
        if self.sliding_tokens is None:
            return full
        near = _added((places <= own) & (places > own - self.sliding_tokens), dtype)
        return {FULL: full, SLIDING: near} if self.is_mixed else near


def _added(is_seen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a token [B, T, W] looks, the least number elsewhere."""
    nothing = torch.zeros(is_seen.shape, dtype=dtype, device=is_seen.device)
    return nothing.masked_fill_(~is_seen, torch.finfo(dtype).min)[:, None]
