"""The KV cache of several texts in one: slots with lengths of their own.

A slot is one row of every layer's keys and values. How much of a row counts is known outside, so
appending, truncating, joining and leaving move no data.

    S slots   H KV heads   L positions   D head size   B rows of a pass   T tokens   W window
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from transformers import Cache

from executor.engine import EngineCall

# Rows grow in steps of this many positions.
STEP_TOKENS = 256


class SlotWindow(Protocol):
    """Where a forward pass writes, and what it attends to."""

    @property
    def past_tokens(self) -> int: ...

    @property
    def window_tokens(self) -> int: ...

    def extend(self, store: Tensor, new: Tensor) -> Tensor:
        """Writes ``new`` [B, H, T, D] into ``store`` [S, H, L, D]; the window [B, H, W, D]."""
        ...


@dataclass(frozen=True)
class Piece:
    """The tokens ``start`` … ``stop`` of one slot, or of several that lie side by side."""

    slots: slice
    start: int
    stop: int

    @property
    def past_tokens(self) -> int:
        return self.start

    @property
    def window_tokens(self) -> int:
        return self.stop

    def extend(self, store: Tensor, new: Tensor) -> Tensor:
        rows = store[self.slots]
        rows[:, :, self.start : self.stop] = new
        return rows[:, :, : self.stop]


@dataclass(frozen=True)
class Rows:
    """T tokens in each of several slots.

    Attributes:
        slots, positions: [B] and [B, T], where the tokens' keys and values go.
        span: the same slots as a slice where they lie side by side, which saves copying the window.
    """

    slots: Tensor
    positions: Tensor
    window_tokens: int
    span: slice | None

    @property
    def past_tokens(self) -> int:
        return self.window_tokens - self.positions.shape[1]

    def extend(self, store: Tensor, new: Tensor) -> Tensor:
        store[self.slots[:, None], :, self.positions] = new.transpose(1, 2)
        rows = store[self.span] if self.span else store
        window = rows[:, :, : self.window_tokens]
        return window if self.span else window[self.slots]


class SlotCache(Cache):
    """``past_key_values`` over slots: a pass goes to ``place``, which is set before it.

    A pass over slots of one length looks to transformers like a batch of its own, so that
    transformers makes the right mask; a pass over several lengths needs an explicit one.
    """

    place: SlotWindow

    def __init__(self, slots: int) -> None:
        super().__init__(layers=[])
        self._slots = slots
        self._length = STEP_TOKENS
        # By layer: [S, H, L, D].
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}

    @property
    def length_tokens(self) -> int:
        return self._length

    def reserve(self, tokens: int) -> bool:
        """Makes room for ``tokens`` in every slot; what is there stays. True if it has moved."""
        if tokens <= self._length:
            return False
        length = max(2 * self._length, -(-tokens // STEP_TOKENS) * STEP_TOKENS)
        for stores in (self._keys, self._values):
            for layer, store in stores.items():
                stores[layer] = _lengthened(store, length)
        self._length = length
        return True

    # what transformers asks

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        if layer_idx not in self._keys:
            self._keys[layer_idx] = self._store(key_states)
            self._values[layer_idx] = self._store(value_states)
        return (
            self.place.extend(self._keys[layer_idx], key_states),
            self.place.extend(self._values[layer_idx], value_states),
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.place.past_tokens

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.place.window_tokens, 0

    def get_max_length(self, layer_idx: int | None = None) -> int:
        return -1

    def _store(self, states: Tensor) -> Tensor:
        # Zeros, because what is masked is still multiplied by 0, and 0 times NaN is NaN.
        _, heads, _, size = states.shape
        return states.new_zeros(self._slots, heads, self._length, size)


def _lengthened(store: Tensor, length: int) -> Tensor:
    slots, heads, old, size = store.shape
    if old >= length:
        return store
    longer = store.new_zeros(slots, heads, length, size)
    longer[:, :, :old] = store
    return longer


class SlotBook:
    """Who sits in which slot, and which tokens the free slots still hold."""

    def __init__(self, slots: int) -> None:
        # What is in each free slot, least recently used first: tokens, and the request's name.
        self._free: dict[int, tuple[list[int], str]] = {slot: ([], "") for slot in range(slots)}

    @property
    def free(self) -> int:
        return len(self._free)

    def take(self, call: EngineCall) -> tuple[int, int]:
        """The free slot that holds most of its prompt's beginning, and how many tokens of it."""
        held = {slot: call.reusable(*left) for slot, left in self._free.items()}
        slot = max(held, key=held.__getitem__)
        del self._free[slot]
        return slot, held[slot]

    def release(self, slot: int, ids: list[int], owner: str) -> None:
        """Gives ``slot`` back; it holds the keys and values of ``ids``, which ``owner`` left."""
        self._free[slot] = ids, owner
