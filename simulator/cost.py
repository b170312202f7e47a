"""What an iteration costs, as integer picoseconds in tables that compiled code reads.

An iteration schedules T tokens of n sequences: some decode one token each, some prefill a chunk.

    pure decode   decode_ps[n] + attention of n sequences with c tokens of context in all
    otherwise     tokens_ps[T] + sequences_ps[n] + attention of the decoding ones
                  + Σ over chunks of the attention of a chunk after so many tokens

Attention of decoding is piecewise linear in c with integer slopes, so the sum over k iterations, in
which every sequence grows by one token, has an exact closed form (``decode_sum_ps``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from profiles.latency import EngineProfile
from staircase.timeline import to_ps

Ints = NDArray[np.int64]


class Cost(NamedTuple):
    """Tables of one engine; beyond its end a table's last value, slope or row holds.

    Attributes:
        tokens_ps: by tokens of an iteration that prefills.
        sequences_ps: by sequences of an iteration that prefills.
        decode_ps: by sequences of an iteration that only decodes.
        knots: mean context per sequence at which decode attention bends, rising from 0.
        attention_ps: at (sequences, knot).
        attention_slope: picoseconds per token of context from (sequences, knot) to the next knot.
        chunks, before: grid of prefill attention: tokens of a chunk, tokens before it.
        chunk_ps: at (chunk, before), linear between grid points.
    """

    tokens_ps: Ints
    sequences_ps: Ints
    decode_ps: Ints
    knots: Ints
    attention_ps: Ints
    attention_slope: Ints
    chunks: Ints
    before: Ints
    chunk_ps: Ints


def cost_of_profile(profile: EngineProfile, max_tokens: int, max_sequences: int) -> Cost:
    """Tables of a fitted profile (``profiles.latency``)."""
    dense = [profile.prefill_s(tokens, 0) for tokens in range(1, max_tokens + 1)]
    quadratic = profile.prefill.coefficients[-1] * profile.prefill.mean_ratio
    tokens = np.arange(1, max_tokens + 1)
    dense_s = np.asarray(dense) - quadratic * tokens * (tokens + 1) / 2
    slope = to_ps(profile.decode.coefficients[2] * profile.decode.mean_ratio)
    rows = max_sequences + 1
    chunks = np.unique(np.geomspace(1, max_tokens, 24).astype(np.int64))
    before = np.unique(np.concatenate([[0], np.geomspace(16, 1 << 18, 24).astype(np.int64)]))
    chunk_s = quadratic * chunks[:, None] * (before + (chunks[:, None] + 1) / 2)
    return Cost(
        tokens_ps=_to_ps(np.concatenate([[0.0], dense_s])),
        sequences_ps=np.zeros(rows, dtype=np.int64),
        decode_ps=_to_ps(np.asarray([profile.decode_s(n, 0) for n in range(rows)])),
        knots=np.zeros(1, dtype=np.int64),
        attention_ps=np.zeros((rows, 1), dtype=np.int64),
        attention_slope=np.full((rows, 1), slope, dtype=np.int64),
        chunks=chunks,
        before=before,
        chunk_ps=_to_ps(chunk_s),
    )


def _to_ps(seconds: NDArray[np.float64]) -> Ints:
    return np.rint(seconds * 1e12).astype(np.int64)


@njit(cache=True)
def at(table: Ints, place: int) -> int:
    """``table[place]``, its last slope continued beyond its end."""
    last = len(table) - 1
    if place <= last:
        return table[place]
    slope = table[last] - table[last - 1] if last > 0 else 0
    return table[last] + slope * (place - last)


@njit(cache=True)
def attention_ps(cost: Cost, sequences: int, context: int) -> int:
    """One token for each of ``sequences`` with ``context`` tokens in all."""
    if sequences == 0:
        return 0
    row = min(sequences, len(cost.attention_ps) - 1)
    knot = np.searchsorted(cost.knots, context // sequences, side="right") - 1
    beyond = context - sequences * cost.knots[knot]
    return cost.attention_ps[row, knot] + cost.attention_slope[row, knot] * beyond


@njit(cache=True)
def decode_sum_ps(cost: Cost, sequences: int, context: int, iterations: int) -> int:
    """``iterations`` pure decode iterations, the first with ``context`` tokens in all."""
    row = min(sequences, len(cost.attention_ps) - 1)
    total = iterations * at(cost.decode_ps, sequences)
    left = iterations
    while left > 0:
        knot = np.searchsorted(cost.knots, context // sequences, side="right") - 1
        count = left
        if knot + 1 < len(cost.knots):
            until = sequences * cost.knots[knot + 1] - context
            count = min(left, (until + sequences - 1) // sequences)
        slope = cost.attention_slope[row, knot]
        first = cost.attention_ps[row, knot] + slope * (context - sequences * cost.knots[knot])
        total += count * first + slope * sequences * (count * (count - 1) // 2)
        left -= count
        context += count * sequences
    return total


@njit(cache=True)
def decode_iterations_by(cost: Cost, sequences: int, context: int, most: int, until_ps: int) -> int:
    """The fewest iterations, at most ``most``, that take ``until_ps`` or longer."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if decode_sum_ps(cost, sequences, context, middle) >= until_ps:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True)
def chunk_attention_ps(cost: Cost, chunk: int, before: int) -> int:
    """A chunk of prefill after ``before`` tokens: linear between the grid's points."""
    i = _cell(cost.chunks, chunk)
    j = _cell(cost.before, before)
    x = (chunk - cost.chunks[i]) / max(1, cost.chunks[i + 1] - cost.chunks[i])
    y = (before - cost.before[j]) / max(1, cost.before[j + 1] - cost.before[j])
    low = cost.chunk_ps[i, j] * (1 - y) + cost.chunk_ps[i, j + 1] * y
    high = cost.chunk_ps[i + 1, j] * (1 - y) + cost.chunk_ps[i + 1, j + 1] * y
    return max(0, int(np.rint(low * (1 - x) + high * x)))


@njit(cache=True)
def _cell(grid: Ints, value: int) -> int:
    """The grid cell that holds ``value``, or the nearest."""
    return min(max(np.searchsorted(grid, value, side="right") - 1, 0), len(grid) - 2)
