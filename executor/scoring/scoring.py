"""Scoring by a model in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from executor.inprocess.kept_text import KeptText
from executor.inprocess.models import LoadedModel
from executor.inprocess.threads import computing_with
from executor.prefix import common_prefix
from executor.scorer import Distributions, ForcedText, TokenFigures

# Log-probabilities that differ by more are of another text, or of less exact arithmetic.
SAME = 1e-3


class ModelScorer:
    """Asks a model in this process: one forward pass a text, when it is its turn.

    What a text has in common with the one before, up to what is asked for, is computed once where
    the model's keys and values can be cut: models with a state are found out (``shares_texts``).
    Equal texts that follow one another are scored once, so that nothing tells them apart.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    @cached_property
    def _shares(self) -> bool:
        return shares_texts(self._model)

    def score(self, texts: Sequence[ForcedText]) -> Iterator[WholeDistributions]:
        kept = KeptText() if self._shares else None
        for text, equal in groupby(texts):
            every = log_probabilities(self._model, text.ids, text.positions, kept)
            drawn = torch.tensor([text.ids[place] for place in text.positions]).to(every.device)
            found = WholeDistributions(every, drawn, self._model.written_below)
            yield from (found for _ in equal)


@dataclass(frozen=True)
class WholeDistributions:
    """Log-probabilities of all tokens [positions, vocabulary], and the drawn ones [positions].

    Attributes:
        written_below: as of ``LoadedModel``.
    """

    log_probabilities: torch.Tensor
    drawn: torch.Tensor
    written_below: int | None = None

    def rows(self, start: int, stop: int | None) -> WholeDistributions:
        some = slice(start, stop)
        return replace(self, log_probabilities=self.log_probabilities[some], drawn=self.drawn[some])

    def against(self, less: Distributions) -> TokenFigures:
        assert isinstance(less, WholeDistributions)
        full, other = self.log_probabilities, less.log_probabilities
        gap = self.drawn_log_probabilities - less.drawn_log_probabilities
        return TokenFigures(divergence(full, other), agreement(full, other), gap)

    @property
    def drawn_log_probabilities(self) -> NDArray[np.float64]:
        """Of the tokens that stand there [positions]."""
        found = self.log_probabilities.gather(1, self.drawn[:, None])[:, 0]
        return np.asarray(found.cpu().numpy(), dtype=np.float64)

    def behind_best(self) -> NDArray[np.float64]:
        every = self.log_probabilities
        best = every[:, : self.written_below].amax(dim=-1)
        behind = best - every.gather(1, self.drawn[:, None])[:, 0]
        return np.asarray(behind.clamp(min=0).cpu().numpy(), dtype=np.float64)


@torch.inference_mode()
def log_probabilities(
    model: LoadedModel, ids: Sequence[int], positions: Sequence[int], kept: KeptText | None = None
) -> torch.Tensor:
    """Log-probabilities from which the tokens at ``positions`` of ``ids`` were drawn.

    One forward pass; the shape is (positions, vocabulary). There is at least one, and none is 0.
    What ``kept`` has of the text before the first position is not computed again; ``ids`` are in it
    afterwards.
    """
    start, cache = 0, dict[str, Any](use_cache=False)
    if kept is not None:
        start = min(common_prefix(kept.ids, list(ids)), min(positions) - 1)
        kept.keep(start)
        cache = {"use_cache": True, "past_key_values": kept.cache}
    with computing_with(model.threads):
        tokens = torch.tensor([ids[start:]], device=model.device)
        before = torch.tensor(positions, device=model.device) - 1 - start
        logits = model.network(input_ids=tokens, logits_to_keep=before, **cache).logits[0]
    if kept is not None:
        kept.ids = list(ids)
    return torch.log_softmax(logits.float(), dim=-1)


def shares_texts(model: LoadedModel) -> bool:
    """Whether a text comes out the same where its beginning is kept from another one.

    It does not where a model keeps a state, or no cache at all; then nothing is to be kept.
    """
    one, other, kept = [1, 2, 3, 4, 5, 6], [1, 2, 3, 6, 5, 4], KeptText()
    try:
        log_probabilities(model, one, [len(one) - 1], kept)
        again = log_probabilities(model, other, [len(other) - 1], kept)
    except Exception:  # As many kinds as there are models: see KeptText and its cache.
        return False
    whole = log_probabilities(model, other, [len(other) - 1])
    return torch.allclose(again, whole, rtol=0, atol=SAME)


def divergence(full: torch.Tensor, less: torch.Tensor) -> NDArray[np.float64]:
    """KL(full ‖ less) in nats at each position; arguments are (positions, vocabulary)."""
    kl = (full.exp() * (full - less)).sum(dim=-1).clamp(min=0)
    return np.asarray(kl.cpu().numpy(), dtype=np.float64)


def agreement(full: torch.Tensor, less: torch.Tensor) -> NDArray[np.float64]:
    """1 where both have the same most probable token, else 0."""
    same = full.argmax(dim=-1) == less.argmax(dim=-1)
    return np.asarray(same.cpu().numpy(), dtype=np.float64)
