"""Forward passes of a model over slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from executor.inprocess.masks import Sight
from executor.inprocess.models import LoadedModel
from executor.inprocess.next_logits import next_logits
from executor.inprocess.slots import Piece, Rows, SlotCache
from executor.inprocess.static_steps import StaticSteps


class SlotPasses:
    """Runs a model on slots; what comes of it stays on its device until it is asked for.

    Args:
        is_static: decode in steps of fixed shapes, as CUDA graphs need them.
        choose: makes of the next tokens' logits [B, V] what a pass gives: the tokens [B], or what
            they are chosen by afterwards [B, …]. It is part of the graphs.
    """

    def __init__(
        self, model: LoadedModel, slots: int, is_static: bool, choose: Callable[[Tensor], Tensor]
    ) -> None:
        self._choose = choose
        self._next_logits = next_logits(model.network)
        self._dtype = model.network.dtype
        self._device = model.device
        self._sight = Sight.of(model.network.config.get_text_config())
        self._cache = SlotCache(slots)
        self._steps = StaticSteps(self._step, slots, model.device) if is_static else None

    @property
    def graphs(self) -> int:
        return self._steps.graphs if self._steps else 0

    def reserve(self, tokens: int) -> None:
        """Makes room for ``tokens`` in every slot."""
        if self._cache.reserve(tokens) and self._steps:
            self._steps.forget()

    def prefill(self, slot: int, start: int, tokens: Sequence[int], last: int = 1) -> Tensor:
        """Runs ``tokens`` from position ``start`` on: ``choose`` of what follows each of the
        ``last`` of them, [last, …]."""
        self._note(slot, start + len(tokens))
        return self._run_piece(slice(slot, slot + 1), start, [tokens], last)

    def decode(
        self, slots: Sequence[int], positions: Sequence[int], tokens: Sequence[int]
    ) -> Tensor:
        """One token in each of ``slots``, which are sorted: ``choose`` of what follows, [B, …]."""
        if self._steps:
            return self._steps.decode(slots, positions, tokens, self._cache.length_tokens)
        span = _span(slots)
        # Who began together with as long a prompt goes on together: no mask, no scattered writes.
        if span and min(positions) == max(positions):
            return self._run_piece(span, positions[0], [[token] for token in tokens])
        rows, places, ids = torch.tensor([slots, positions, tokens], device=self._device)
        return self._run_rows(Rows(rows, places[:, None], max(positions) + 1, span), ids[:, None])

    def check(
        self, slots: Sequence[int], starts: Sequence[int], tokens: Sequence[Sequence[int]]
    ) -> Tensor:
        """Some tokens in each of ``slots``, which are sorted: ``choose`` of what follows each.

        Shorter rows are filled up with their last token where it stands anyway, which changes
        nothing.

        Returns:
            [R, …], R the number of all ``tokens``.
        """
        width, stops = max(map(len, tokens)), list[int]()
        for slot, start, some in zip(slots, starts, tokens, strict=True):
            stops.append(start + len(some))
            self._note(slot, stops[-1])
        filled = [[*some, *[some[-1]] * (width - len(some))] for some in tokens]
        ids, first = (torch.tensor(one, device=self._device) for one in (filled, starts))
        last = torch.tensor(stops, device=self._device)[:, None] - 1
        positions = (first[:, None] + torch.arange(width, device=self._device)).minimum(last)
        rows = Rows(torch.tensor(slots, device=self._device), positions, max(stops), _span(slots))
        real = [row * width + n for row, some in enumerate(tokens) for n in range(len(some))]
        return self._run_rows(rows, ids, width)[real]

    def _note(self, slot: int, stop: int) -> None:
        if self._steps:
            self._steps.note(slot, stop)

    def _run_piece(
        self, slots: slice, start: int, tokens: Sequence[Sequence[int]], last: int = 1
    ) -> Tensor:
        """``tokens`` [B, T] of neighbouring slots, from position ``start`` on."""
        stop = start + len(tokens[0])
        self._cache.place = Piece(slots, start, stop)
        positions = torch.arange(start, stop, device=self._device)
        return self._run(torch.tensor(tokens, device=self._device), positions[None], None, last)

    def _step(self, ids: Tensor, positions: Tensor, window: int) -> Tensor:
        """A decode of the first B slots, without anything that depends on values."""
        rows = torch.arange(len(ids), device=self._device)
        place = Rows(rows, positions[:, None], window, slice(0, len(ids)))
        return self._run_rows(place, ids[:, None])

    def _run_rows(self, rows: Rows, ids: Tensor, last: int = 1) -> Tensor:
        self._cache.place = rows
        masks = self._sight.masks(rows.positions, rows.window_tokens, self._dtype)
        return self._run(ids, rows.positions, masks, last)

    def _run(
        self, ids: Tensor, positions: Tensor, masks: Tensor | dict[str, Tensor] | None, last: int
    ) -> Tensor:
        """``choose`` of what follows the ``last`` of ``ids`` [B, T] at ``positions`` [B or 1, T]:
        [B * last, …]."""
        logits = self._next_logits(
            last,
            input_ids=ids,
            position_ids=positions,
            attention_mask=masks,
            past_key_values=self._cache,
            use_cache=True,
        )
        return self._choose(logits.flatten(0, 1))


def _span(slots: Sequence[int]) -> slice | None:
    first, last = slots[0], slots[-1]
    return slice(first, last + 1) if last - first + 1 == len(slots) else None
