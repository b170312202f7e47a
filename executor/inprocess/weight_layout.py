"""How a network's weights lie in memory, where a CPU computes passes of few tokens.

A pass of one token reads every weight once, so it takes as long as reading takes. torch keeps a
linear layer's weights [out, in] row by row, and MKL reads a wide layer faster column by column: a
tenth to a third in single precision at one token, nothing lost at 128. Narrow layers, and all in
half precision, are better as they are (`docs/log.md`, 2026-11-27).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

# A layer of fewer outputs an input gains nothing, and loses at a batch of eight.
LEAST_WIDTH = 2


def lay_for_decoding(network: Any) -> None:
    """Lays wide layers of ``network`` column by column; only strides change, in place."""
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return
    for layer in _wide_layers(network):
        # A tied embedding, too: a row of it is slower to look up, but that is nothing in a pass.
        layer.weight.data = layer.weight.data.t().contiguous().t()


def _wide_layers(network: Any) -> Iterator[nn.Linear]:
    for module in network.modules():
        # Quantised layers are subclasses, and their weights have other shapes.
        if type(module) is not nn.Linear:
            continue
        weight = module.weight
        is_wide = module.out_features >= LEAST_WIDTH * module.in_features
        if is_wide and weight.dtype is torch.float32 and weight.device.type == "cpu":
            yield module
