"""A decoder's shape: how many weights it has, and what a token reads, keeps and computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

BITS = 16
# Of hidden states, which engines hold in 16 bits.
BYTES = 2


@dataclass(frozen=True)
class Weights:
    """``bits`` of each with its share of scales and zero points."""

    parameters: int
    bits: float = BITS

    @property
    def bytes(self) -> float:
        return self.parameters * self.bits / 8

    def __add__(self, other: Weights) -> Weights:
        """Both together, with their mean bits."""
        parameters = self.parameters + other.parameters
        if not parameters:
            return self
        return Weights(parameters, 8 * (self.bytes + other.bytes) / parameters)


NOTHING = Weights(0)


@dataclass(frozen=True)
class Attention:
    """Layers with attention of one kind.

    Attributes:
        kv_heads: 1 where all heads share what is kept.
        kv_bytes: that one token leaves in one layer.
        flops: of one layer and a token that attends to one: a product with the key and one with
            the value. For tokens of a prompt, and for those that are decoded.
        window: a token attends to at most so many; None for all.
    """

    layers: int
    kv_heads: int
    kv_bytes: float
    prefill_flops: int
    decode_flops: int
    window: int | None = None

    def reached(self, sequences: int, context_tokens: float) -> float:
        """How many of ``context_tokens`` the last tokens of ``sequences``, equally long, see."""
        if self.window is None:
            return context_tokens
        return min(context_tokens, sequences * self.window)

    def pairs(self, new: int, before: int) -> float:
        """Of ``new`` tokens after ``before`` with each that they see, themselves included."""
        return self._pairs_from_start(before + new) - self._pairs_from_start(before)

    def _pairs_from_start(self, tokens: int) -> float:
        seen = tokens if self.window is None else min(tokens, self.window)
        return seen * (seen + 1) / 2 + (tokens - seen) * seen


@dataclass(frozen=True)
class ModelShape:
    """A decoder: attention or recurrent layers, then feed-forward blocks or experts.

    Attributes:
        dense: weights of all layers that every token passes.
        head: makes the next token's logits.
        expert: one expert of every layer that has experts.
        unread: weights that are held, and not read as a whole: embeddings of tokens, towers for
            images and sounds.
        state_bytes: what recurrent layers keep of a sequence, however long.
        norms: of a layer: of what attention and the block after it read, of queries and of keys.
    """

    hidden: int
    layers: int
    attention: tuple[Attention, ...]
    dense: Weights
    head: Weights
    unread: Weights = NOTHING
    expert: Weights = NOTHING
    experts: int = 1
    experts_per_token: int = 1
    state_bytes: int = 0
    norms: int = 2

    @property
    def parameters(self) -> int:
        experts = self.experts * self.expert.parameters
        others = (self.dense, self.head, self.unread)
        return experts + sum(weights.parameters for weights in others)

    @property
    def weight_bytes(self) -> float:
        experts = self.experts * self.expert.bytes
        return experts + self.dense.bytes + self.head.bytes + self.unread.bytes

    @property
    def kv_bytes_per_token(self) -> float:
        """As if no window ended."""
        return sum(attention.layers * attention.kv_bytes for attention in self.attention)

    @property
    def windows(self) -> list[int]:
        return sorted({attention.window for attention in self.attention if attention.window})

    @property
    def layer_flops_per_token(self) -> int:
        """Of all layers' matrices, two for each weight; without attention and the head."""
        return 2 * (self.dense.parameters + self.experts_per_token * self.expert.parameters)

    @property
    def head_flops(self) -> int:
        """The next token's logits, once a sequence."""
        return 2 * self.head.parameters

    def layer_bytes(self, tokens: int) -> float:
        """Weights of all layers that ``tokens`` read, each once."""
        return self.dense.bytes + self.active_experts(tokens) * self.expert.bytes

    def active_experts(self, tokens: float) -> float:
        """How many experts of a layer ``tokens`` need.

        Each token takes k of E experts, evenly and independently: E·(1 - (1 - k/E)^tokens).
        """
        unread = math.pow(1 - self.experts_per_token / self.experts, tokens)
        return self.experts * (1 - unread)


def plain_shape(
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    intermediate: int,
    vocabulary: int,
    *,
    is_tied: bool = False,
    gate_matrices: int = 3,
    experts: int = 1,
    experts_per_token: int = 1,
    norms: int = 2,
) -> ModelShape:
    """A decoder with the same attention in every layer, dense or with experts in every layer.

    Weights of norms, biases and position tables are left out: together far below one percent.

    Args:
        intermediate: of the feed-forward block, or of one expert.
        gate_matrices: 3 in a feed-forward block with a gate, else 2.
    """
    attention_columns, block_columns = (
        2 * (heads + kv_heads) * head_dim,
        gate_matrices * intermediate,
    )
    flops = 4 * heads * head_dim
    attention = Attention(layers, kv_heads, 2 * BYTES * kv_heads * head_dim, flops, flops)
    head = Weights(vocabulary * hidden)
    unread, block = (
        NOTHING if is_tied else head,
        Weights(math.prod((layers, hidden, block_columns))),
    )
    if experts == 1:
        dense = Weights(math.prod((layers, hidden, attention_columns + block_columns)))
        return ModelShape(hidden, layers, (attention,), dense, head, unread, norms=norms)
    # A column of the router for each expert.
    dense = Weights(math.prod((layers, hidden, attention_columns + experts)))
    return ModelShape(
        hidden,
        layers,
        (attention,),
        dense,
        head,
        unread,
        block,
        experts,
        experts_per_token,
        norms=norms,
    )


def grouped(attention: Sequence[Attention]) -> tuple[Attention, ...]:
    """Layers of one kind together."""
    layers: dict[Attention, int] = {}
    for one in attention:
        kind = replace(one, layers=1)
        layers[kind] = layers.get(kind, 0) + one.layers
    return tuple(replace(kind, layers=count) for kind, count in layers.items())
