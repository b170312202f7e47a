"""What iterations and calls may cost, so that all sums stay within 64 bits of picoseconds."""

from __future__ import annotations

import numpy as np

from simulator.core.cost import Cost, Floats, mixed_attention
from staircase.bounds import LONGEST_ITERATION_S, LONGEST_RUN_S
from staircase.errors import ProfileError, WorkloadError
from staircase.timeline import to_ps, to_s

TABLES = ("tokens_ps", "sequences_ps", "decode_ps", "attention_ps", "mixed_ps", "pieces_ps")


def check_tables(cost: Cost) -> None:
    """Raise ProfileError unless each table holds times that an iteration can take."""
    for name in TABLES:
        table = getattr(cost, name)
        # What was no number, or too large a one, became negative as it was made an integer.
        if table.size and not 0 <= table.min() <= table.max() <= to_ps(LONGEST_ITERATION_S):
            raise ProfileError(
                f"an iteration would take from {to_s(table.min()):.3g} to "
                f"{to_s(table.max()):.3g} s ({name.removesuffix('_ps')}), "
                f"must be from 0 to {LONGEST_ITERATION_S:g} s"
            )
    if cost.attention_slope[:, -1].min() < 0:
        raise ProfileError("attention would take less time with more context, must not")


def check_call(cost: Cost, max_tokens: int, max_sequences: int, tokens: int, who: str) -> None:
    """Raise WorkloadError if a call with so many tokens in all may take longer than a run may.

    In the worst case, beside calls that are as long on all other seats.
    """
    seconds = to_s(
        max(_decodes_ps(cost, tokens), _prefill_ps(cost, max_tokens, max_sequences, tokens))
    )
    if not seconds <= LONGEST_RUN_S:
        raise WorkloadError(
            f"a call of {who} with {tokens} tokens may take {seconds:.3g} s, must be at most "
            f"{LONGEST_RUN_S:g} s: give shorter texts, or a faster engine"
        )


def _decodes_ps(cost: Cost, tokens: int) -> float:
    """``tokens`` iterations with all of this context, and as many sequences as are worst."""
    rows = np.arange(len(cost.attention_ps), dtype=np.float64)[:, None]
    beyond = np.maximum(tokens - cost.knots, 0).astype(np.float64)
    attention: Floats = cost.attention_ps + cost.attention_slope * rows * beyond
    return tokens * (float(cost.decode_ps.max()) + float(attention.max()))


def _prefill_ps(cost: Cost, max_tokens: int, max_sequences: int, tokens: int) -> float:
    """The iteration that computes most, after and beside texts of this length."""
    work = max_tokens * (2 * tokens + max_tokens)
    return float(mixed_attention(cost, max_tokens, work, max_sequences, max_sequences * tokens))
