"""Scoring by a model in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from executor.models import LoadedModel
from executor.scorer import Comparison, Distributions, ForcedText
from executor.threads import computing_with


class ModelScorer:
    """Asks a model in this process: one forward pass a text, when it is its turn."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def score(self, texts: Sequence[ForcedText]) -> Iterator[Distributions]:
        for text in texts:
            every = log_probabilities(self._model, text.ids, text.positions)
            drawn = torch.tensor([text.ids[place] for place in text.positions]).to(every.device)
            yield WholeDistributions(every, drawn)


@dataclass(frozen=True)
class WholeDistributions:
    """Log-probabilities of all tokens [positions, vocabulary], and the drawn ones [positions]."""

    log_probabilities: torch.Tensor
    drawn: torch.Tensor

    def rows(self, start: int, stop: int | None) -> WholeDistributions:
        return WholeDistributions(self.log_probabilities[start:stop], self.drawn[start:stop])

    def against(self, less: Distributions) -> Comparison:
        assert isinstance(less, WholeDistributions)
        full, other = self.log_probabilities, less.log_probabilities
        gap = (full - other).gather(1, self.drawn[:, None])[:, 0]
        return Comparison(
            divergence(full, other),
            agreement(full, other),
            np.asarray(gap.cpu().numpy(), dtype=np.float64),
        )


@torch.inference_mode()
def log_probabilities(
    model: LoadedModel, ids: Sequence[int], positions: Sequence[int]
) -> torch.Tensor:
    """Log-probabilities from which the tokens at ``positions`` of ``ids`` were drawn.

    One forward pass; the shape is (positions, vocabulary). No position may be 0.
    """
    with computing_with(model.threads):
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
