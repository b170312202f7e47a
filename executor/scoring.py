"""Teacher-forced scoring: what would the model have said had it read something else?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from executor.models import LoadedModel


@torch.inference_mode()
def log_probabilities(
    model: LoadedModel, ids: Sequence[int], positions: Sequence[int]
) -> torch.Tensor:
    """Log-probabilities from which the tokens at ``positions`` of ``ids`` were drawn.

    One forward pass; the shape is (positions, vocabulary). No position may be 0.
    """
    tokens = torch.tensor([ids], device=model.device)
    before = torch.tensor(positions, device=model.device) - 1
    logits = model.network(input_ids=tokens, logits_to_keep=before, use_cache=False).logits[0]
    return torch.log_softmax(logits.float(), dim=-1)


def divergence(full: torch.Tensor, less: torch.Tensor) -> NDArray[np.float64]:
    """KL(full ‖ less) in nats at each position; arguments are (positions, vocabulary)."""
    kl = (full.exp() * (full - less)).sum(dim=-1).clamp(min=0)
    return np.asarray(kl.cpu().numpy(), dtype=np.float64)


def agreement(full: torch.Tensor, less: torch.Tensor) -> NDArray[np.float64]:
    """1 where both have the same most probable token, else 0."""
    same = full.argmax(dim=-1) == less.argmax(dim=-1)
    return np.asarray(same.cpu().numpy(), dtype=np.float64)
