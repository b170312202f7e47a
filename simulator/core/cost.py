"""What an iteration costs, as integer picoseconds in tables that compiled code reads.

An iteration schedules T tokens of n sequences: some decode one token each, some prefill a chunk.

    pure decode   decode_ps[n] + attention of n sequences with c tokens of context in all
    otherwise     tokens_ps[T] + sequences_ps[n] + mixed attention of one chunk, so many tokens
                  before it, so many decoding sequences, and their mean context
                  + pieces_ps[chunks]

Several chunks of c_i tokens after k_i others count as one of Σ c_i tokens that does the same work,
Σ c_i·(k_i + c_i/2).

Attention of decoding is piecewise linear in c with integer slopes, so the sum over k iterations, in
which every sequence grows by one token, has an exact closed form (``decode_sum_ps``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiles.hardware.hosts import Host
from profiles.hardware.roofline import Roofline
from profiles.hardware.transforms import Factors
from profiles.importers.kernels import KernelTables
from profiles.latency.points import PREFILL_KNOTS
from profiles.latency.profile import EngineProfile
from simulator.core.compiling import compiled
from staircase.timeline import to_ps

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any
Floats = NDArray[np.float64]


class Cost(NamedTuple):
    """Tables of one engine; beyond its end a table's last value, slope or row holds.

    Attributes:
        tokens_ps: by tokens of an iteration that prefills.
        sequences_ps: by sequences of an iteration that prefills.
        decode_ps: by sequences of an iteration that only decodes.
        knots: mean context per sequence at which decode attention bends, rising from 0.
        attention_ps: at (sequences, knot).
        attention_slope: picoseconds per token of context from (sequences, knot) to the next knot.
        chunks, before, decoding, contexts: grid of mixed attention.
        mixed_ps: at (chunk, before, decoding, mean context), linear between grid points.
        pieces_ps: by chunks of an iteration that prefills.
    """

    tokens_ps: Ints
    sequences_ps: Ints
    decode_ps: Ints
    knots: Ints
    attention_ps: Ints
    attention_slope: Ints
    chunks: Ints
    before: Ints
    decoding: Ints
    contexts: Ints
    mixed_ps: Ints
    pieces_ps: Ints


def cost_of_profile(profile: EngineProfile, max_tokens: int, max_sequences: int) -> Cost:
    """Tables of a fitted profile (``profiles.latency.profile``).

    An engine of which mixed iterations were measured runs a pass for every chunk and one for all
    that decode; of others it is assumed that they run one pass for all tokens.
    """
    tokens = np.arange(1, max_tokens + 1)
    dense_s = _dense_s(profile, tokens)
    slope = to_ps(profile.decode.coefficients[2] * profile.decode.mean_ratio)
    rows = max_sequences + 1
    chunks = np.unique([*np.geomspace(1, max_tokens, 48).astype(np.int64), *_knots(max_tokens)])
    before = np.unique(np.concatenate([[0], np.geomspace(16, 1 << 18, 24).astype(np.int64)]))
    chunk_s: Floats = np.array([[profile.attention_s(n, k) for k in before] for n in chunks])
    # Decoding is linear in sequences, and in sequences × mean context: few points are enough.
    decoding = np.unique([0, 1, max(2, max_sequences)])
    decode_s: Floats = slope / 1e12 * decoding[:, None] * np.array([0, 1])
    piece_s = 0.0
    if profile.mixed_decode is not None:
        piece_s = profile.prefill.coefficients[0] * profile.prefill.mean_ratio
        chunk_s += _dense_s(profile, chunks)[:, None] - piece_s
        decode_s = profile.mixed_decode * _decode_s(profile, decoding)
        dense_s = np.zeros(max_tokens)
    return Cost(
        tokens_ps=_to_ps(np.concatenate([[0.0], dense_s])),
        sequences_ps=np.zeros(rows, dtype=np.int64),
        decode_ps=_to_ps(np.asarray([profile.decode_s(n, 0) for n in range(rows)])),
        knots=np.zeros(1, dtype=np.int64),
        attention_ps=np.zeros((rows, 1), dtype=np.int64),
        attention_slope=np.full((rows, 1), slope, dtype=np.int64),
        chunks=chunks,
        before=before,
        decoding=decoding,
        contexts=np.array([0, 1], dtype=np.int64),
        mixed_ps=_to_ps(chunk_s[:, :, None, None] + decode_s),
        pieces_ps=_to_ps(np.array([0.0, piece_s])),
    )


def _dense_s(profile: EngineProfile, tokens: Ints) -> Floats:
    """Prefills without their attention."""
    return np.array([profile.prefill_s(n, 0) - profile.attention_s(n, 0) for n in tokens.tolist()])


def _decode_s(profile: EngineProfile, decoding: Ints) -> Floats:
    """By sequences, and by their mean context of 0 and 1; nothing where nobody decodes."""
    return np.array(
        [
            [profile.decode_s(n, n * mean) if n else 0.0 for mean in (0, 1)]
            for n in decoding.tolist()
        ]
    )


def _knots(most: int) -> list[int]:
    return [knot for knot in PREFILL_KNOTS if knot <= most]


def linear_cost(
    *,
    iteration_s: float,
    token_s: float,
    sequence_s: float,
    context_s: float,
    max_tokens: int,
    max_sequences: int,
) -> Cost:
    """Seconds per iteration, prefilled token, decoding sequence and token of their context."""
    rows = np.arange(max_sequences + 1, dtype=np.float64)
    tokens = np.arange(max_tokens + 1, dtype=np.float64)
    slope = to_ps(context_s)
    corners = slope * np.array([[0, 0], [0, 1]], dtype=np.int64)
    return Cost(
        tokens_ps=_to_ps(iteration_s + token_s * tokens),
        sequences_ps=np.zeros(2, dtype=np.int64),
        decode_ps=_to_ps(iteration_s + sequence_s * rows),
        knots=np.zeros(1, dtype=np.int64),
        attention_ps=np.zeros((len(rows), 1), dtype=np.int64),
        attention_slope=np.full((len(rows), 1), slope, dtype=np.int64),
        chunks=np.array([0, 1], dtype=np.int64),
        before=np.array([0, 1], dtype=np.int64),
        decoding=np.array([0, 1], dtype=np.int64),
        contexts=np.array([0, 1], dtype=np.int64),
        mixed_ps=np.broadcast_to(corners, (2, 2, 2, 2)).copy(),
        pieces_ps=np.zeros(1, dtype=np.int64),
    )


def cost_of_kernels(tables: KernelTables, max_tokens: int, max_sequences: int) -> Cost:
    """Tables of measured kernels."""
    tokens = np.arange(max_tokens + 1)
    rows = np.arange(max_sequences + 1)
    tokens_s = np.interp(tokens, tables.tokens, tables.tokens_s)
    sequences_s = np.interp(rows, tables.sequences, tables.sequences_s)
    chunks, before, decoding, contexts = tables.axes
    # Attention of n sequences alone: between the measured n, at every measured context and at 0.
    alone = tables.attention_s[0, 0]
    by_rows = np.array([np.interp(rows, decoding, column) for column in alone.T]).T
    knots = contexts.astype(np.int64)
    slopes = np.zeros((len(rows), len(knots)))
    slopes[1:, :-1] = np.diff(by_rows[1:], axis=1) / np.diff(knots) / rows[1:, None]
    # Noise must not make endless texts cheap.
    slopes[:, -1] = np.maximum(slopes[:, -2], 0.0)
    return Cost(
        tokens_ps=_to_ps(tokens_s),
        sequences_ps=_to_ps(sequences_s),
        decode_ps=_to_ps(np.interp(rows, tokens, tokens_s) + sequences_s),
        knots=knots,
        attention_ps=_to_ps(by_rows),
        attention_slope=_to_ps(slopes),
        chunks=chunks.astype(np.int64),
        before=before.astype(np.int64),
        decoding=decoding.astype(np.int64),
        contexts=knots,
        mixed_ps=_to_ps(tables.attention_s),
        pieces_ps=np.zeros(1, dtype=np.int64),
    )


def cost_of_roofline(
    roofline: Roofline, max_tokens: int, max_sequences: int, factor: float = 1.0
) -> Cost:
    """Tables of a roofline, ``factor`` times as slow."""
    rows = range(max_sequences + 1)
    chunks = _rising(max_tokens, lowest=1)
    before = _rising(1 << 18, lowest=16)
    chunk_s: Floats = factor * np.array(
        [[roofline.chunk_attention_s(int(new), int(old)) for old in before] for new in chunks]
    )
    # Decode attention is linear in sequences, and in the context of each from window to window.
    knots = np.array([0, *roofline.shape.windows], dtype=np.int64)
    contexts = np.append(knots, knots[-1] + 1)
    each_ps = np.array([to_ps(factor * roofline.decode_attention_s(1, int(c))) for c in contexts])
    slopes_ps = np.diff(each_ps) // np.diff(contexts)
    corners = max_sequences * np.array([np.zeros_like(each_ps), each_ps])
    tokens_s = np.array([roofline.tokens_s(tokens) for tokens in range(max_tokens + 1)])
    sequences_s = np.array([roofline.sequences_s(sequences) for sequences in rows])
    alone_s = np.array([roofline.tokens_s(sequences) for sequences in rows]) + sequences_s
    return Cost(
        tokens_ps=_to_ps(factor * tokens_s),
        sequences_ps=_to_ps(factor * sequences_s),
        decode_ps=_to_ps(factor * alone_s),
        knots=knots,
        attention_ps=np.outer(rows, each_ps[:-1]),
        attention_slope=np.tile(slopes_ps, (len(rows), 1)),
        chunks=chunks,
        before=before,
        decoding=np.array([0, max_sequences], dtype=np.int64),
        contexts=contexts,
        mixed_ps=_to_ps(chunk_s)[:, :, None, None] + corners,
        pieces_ps=np.zeros(1, dtype=np.int64),
    )


def with_host(cost: Cost, host: Host, factor: float = 1.0) -> Cost:
    """The same with what ``host`` does besides, ``factor`` times as slow."""
    more, each = to_ps(factor * host.iteration_s), to_ps(factor * host.sequence_s)
    return cost._replace(
        tokens_ps=cost.tokens_ps + more,
        sequences_ps=cost.sequences_ps + each * np.arange(len(cost.sequences_ps)),
        decode_ps=cost.decode_ps + more + each * np.arange(len(cost.decode_ps)),
    )


def with_pieces(cost: Cost, piece_s: float) -> Cost:
    """The same where each chunk of a prompt takes ``piece_s`` more."""
    last = max(len(cost.pieces_ps), 2)
    pieces = np.array([at(cost.pieces_ps, chunks) for chunks in range(last)], dtype=np.int64)
    return cost._replace(pieces_ps=pieces + to_ps(piece_s) * np.arange(last))


def with_factors(cost: Cost, factors: Sequence[Factors]) -> Cost:
    """The same where pure decode iterations of 1, 2, … sequences take so many times as long."""
    dense = np.array([1.0, *(one.dense for one in factors)])
    attention = np.array([1.0, *(one.attention for one in factors)])[:, None]
    return cost._replace(
        decode_ps=np.rint(cost.decode_ps * dense).astype(np.int64),
        attention_ps=np.rint(cost.attention_ps * attention).astype(np.int64),
        attention_slope=np.rint(cost.attention_slope * attention).astype(np.int64),
    )


def _rising(most: int, lowest: int) -> Ints:
    """0 and numbers from ``lowest`` to ``most`` in about equal ratios."""
    steps = np.geomspace(lowest, most, 24).astype(np.int64)
    return np.unique(np.concatenate([[0], steps, [most]]))


def _to_ps(seconds: NDArray[np.float64]) -> Ints:
    # ``cost_bounds.check_tables`` tells what is no integer.
    with np.errstate(invalid="ignore", over="ignore"):
        return np.rint(seconds * 1e12).astype(np.int64)


@compiled
def at(table: Ints, place: int) -> int:
    """``table[place]``, its last slope continued beyond its end."""
    last = len(table) - 1
    if place <= last:
        return table[place]
    slope = table[last] - table[last - 1] if last > 0 else 0
    return table[last] + slope * (place - last)


@compiled
def attention_ps(cost: Cost, sequences: int, context: int) -> int:
    """One token for each of ``sequences`` with ``context`` tokens in all."""
    if sequences == 0:
        return 0
    row = min(sequences, len(cost.attention_ps) - 1)
    knot = np.searchsorted(cost.knots, context // sequences, side="right") - 1
    beyond = context - sequences * cost.knots[knot]
    return cost.attention_ps[row, knot] + cost.attention_slope[row, knot] * beyond


@compiled
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


@compiled
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


@compiled
def prefilling_ps(
    cost: Cost, chunks: int, chunk: int, work: int, decoding: int, context: int
) -> int:
    """An iteration that prefills ``chunks`` chunks beside ``decoding`` sequences.

    The other arguments are those of ``mixed_attention_ps``.
    """
    took = at(cost.tokens_ps, chunk + decoding) + at(cost.sequences_ps, chunks + decoding)
    took += at(cost.pieces_ps, chunks)
    return took + mixed_attention_ps(cost, chunk, work, decoding, context)


@compiled
def mixed_attention_ps(cost: Cost, chunk: int, work: int, decoding: int, context: int) -> int:
    """Attention of an iteration that prefills ``chunk`` tokens in all.

    ``work`` is Σ c_i·(2·k_i + c_i) over its chunks, ``context`` that of the decoding sequences in
    all. Between grid points it is linear in every argument, beyond them as in the last cell.
    """
    return int(np.rint(mixed_attention(cost, chunk, work, decoding, context)))


@compiled
def mixed_attention(cost: Cost, chunk: int, work: int, decoding: int, context: int) -> float:
    """The same before it is rounded, which may be more than 64 bits hold."""
    before = max(0.0, (work / chunk - chunk) / 2)
    mean = context / max(1, decoding)
    arguments = (float(chunk), before, float(decoding), mean)
    cells = (
        _cell(cost.chunks, arguments[0]),
        _cell(cost.before, arguments[1]),
        _cell(cost.decoding, arguments[2]),
        _cell(cost.contexts, arguments[3]),
    )
    shares = (
        _share(cost.chunks, cells[0], arguments[0]),
        _share(cost.before, cells[1], arguments[1]),
        _share(cost.decoding, cells[2], arguments[2]),
        _share(cost.contexts, cells[3], arguments[3]),
    )
    total = 0.0
    for corner in range(16):
        i, j, k, m = corner & 1, corner >> 1 & 1, corner >> 2 & 1, corner >> 3 & 1
        weight = _weight(shares[0], i) * _weight(shares[1], j)
        weight *= _weight(shares[2], k) * _weight(shares[3], m)
        total += weight * cost.mixed_ps[cells[0] + i, cells[1] + j, cells[2] + k, cells[3] + m]
    return max(0.0, total)


@compiled
def _cell(grid: Ints, value: float) -> int:
    """The grid cell that holds ``value``, or the nearest."""
    place = int(np.searchsorted(grid, value, side="right")) - 1
    return min(max(place, 0), len(grid) - 2)


@compiled
def _share(grid: Ints, cell: int, value: float) -> float:
    """How far ``value`` lies from the cell's low end, where its high end is 1."""
    return (value - grid[cell]) / (grid[cell + 1] - grid[cell])


@compiled
def _weight(share: float, is_high: int) -> float:
    return share if is_high else 1.0 - share
