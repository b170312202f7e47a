"""Forward passes of a model over slots."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from executor.masks import Sight
from executor.models import LoadedModel
from executor.slots import Column, Piece, SlotCache


class SlotPasses:
    """Runs a model on slots; the next tokens stay on its device until they are asked for."""

    def __init__(self, model: LoadedModel, slots: int) -> None:
        self._network = model.network
        self._device = model.device
        self._sight = Sight.of(model.network.config.get_text_config())
        self._cache = SlotCache(slots)

    def reserve(self, tokens: int) -> None:
        """Makes room for ``tokens`` in every slot."""
        self._cache.reserve(tokens)

    def prefill(self, slot: int, start: int, tokens: Sequence[int]) -> Tensor:
        """Runs ``tokens`` from position ``start`` on: the token after the last one, [1]."""
        stop = start + len(tokens)
        self._cache.place = Piece(slot, start, stop)
        positions = torch.arange(start, stop, device=self._device)
        ids = torch.tensor([tokens], device=self._device)
        return self._run(ids, positions[None], None)

    def decode(
        self, slots: Sequence[int], positions: Sequence[int], tokens: Sequence[int]
    ) -> Tensor:
        """One token in each of ``slots``, which are sorted: the tokens after them, [B]."""
        if len(slots) == 1:
            return self.prefill(slots[0], positions[0], tokens)
        rows, places, ids = torch.tensor([slots, positions, tokens], device=self._device)
        window = max(positions) + 1
        self._cache.place = Column(rows, places, window, _span(slots))
        masks = self._sight.masks(places, window, self._network.dtype)
        return self._run(ids[:, None], places[:, None], masks)

    def _run(
        self, ids: Tensor, positions: Tensor, masks: Tensor | dict[str, Tensor] | None
    ) -> Tensor:
        """Next tokens [B] of ``ids`` [B, T] at ``positions`` [B, T]."""
        output = self._network(
            input_ids=ids,
            position_ids=positions,
            attention_mask=masks,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits
        return logits[:, -1].argmax(-1)


def _span(slots: Sequence[int]) -> slice | None:
    first, last = slots[0], slots[-1]
    return slice(first, last + 1) if last - first + 1 == len(slots) else None
