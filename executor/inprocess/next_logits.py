"""A forward pass up to the logits of what comes next.

A model for causal language modelling wraps its base model and the output embeddings. Around every
token of a small model the wrapping costs several percent (docs/log.md), and for most models it adds
nothing. Whether it does is found out: some scale or cap their logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Of a pass with these arguments: the logits [B, T, V] after its last T positions, T given first.
NextLogits = Callable[..., Tensor]
PROBE_TOKENS = 3


def next_logits(network: Any) -> NextLogits:
    """The short way through ``network``, or the long one where they differ in a bit."""
    head, base = network.get_output_embeddings(), network.base_model
    if head is None or base is network:
        return _long_way(network)
    short, long = _short_way(base, head), _long_way(network)
    return short if _agree(short, long, network.device) else long


def _short_way(base: Any, head: Any) -> NextLogits:
    def forward(last: int, **inputs: Any) -> Tensor:
        logits: Tensor = head(base(**inputs)[0][:, -last:])
        return logits

    return forward


def _long_way(network: Any) -> NextLogits:
    def forward(last: int, **inputs: Any) -> Tensor:
        logits: Tensor = network(**inputs, logits_to_keep=last).logits
        return logits

    return forward


@torch.inference_mode()
def _agree(one: NextLogits, other: NextLogits, device: torch.device) -> bool:
    ids = torch.arange(PROBE_TOKENS, device=device)[None]
    try:
        return torch.equal(*(way(1, input_ids=ids, use_cache=False) for way in (one, other)))
    except (TypeError, ValueError, RuntimeError, LookupError):
        # Its base model takes something else; what is wrong with the long way, calls will tell.
        return False
