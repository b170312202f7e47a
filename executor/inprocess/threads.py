"""How many threads compute a forward pass on a CPU.

torch keeps the number for each thread that calls it, so that devices do not disturb each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# With fewer bytes of weights one thread computes: beside other work, several wait for each other
# at every layer (docs/log.md: 53 s for 1.5 s). An assumption; it depends on the machine.
LEAST_SHARED_BYTES = 32e6


def fast_threads(network: Any) -> int:
    """One for tiny models and for those on a GPU, else all cores that this process may use."""
    weights = list(network.parameters())
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    is_on_cpu = all(weight.device.type == "cpu" for weight in weights)
    return len(usable_cores()) if is_on_cpu and size >= LEAST_SHARED_BYTES else 1


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """The calling thread computes with so many, and afterwards as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
