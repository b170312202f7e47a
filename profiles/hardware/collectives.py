"""What devices tell each other in a ring."""

from __future__ import annotations


def ring_all_reduce_s(
    devices: int, message_bytes: float, bytes_per_s: float, step_s: float
) -> float:
    """2(n - 1) steps, each with a message's n-th part over one link and ``step_s`` besides.

    The first half of them is a reduce-scatter, the second an all-gather.
    Source: NCCL's cost model; Thakur et al., IJHPCA 19(1), 2005.
    """
    steps = 2 * (devices - 1)
    return steps * (step_s + message_bytes / devices / bytes_per_s)
