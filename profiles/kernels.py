"""Kernel times as LLMServingSim's profiler measures them in vLLM, for the cost of iterations.

A bundle folder holds ``dense.csv`` (layer, tokens, time_us), ``per_sequence.csv`` (layer,
sequences, time_us) and ``attention.csv`` (prefill_chunk, kv_prefill, n_decode, kv_decode, time_us;
one layer). Source of the format: github.com/casys-kaist/LLMServingSim, profiler/.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.rows import read_rows

# How often a kernel runs in a model of L layers: once, or this many times a layer.
ONCE = ("embedding", "final_layernorm")
TIMES_A_LAYER = {"layernorm": 2}
WHAT = "a kernel table of LLMServingSim"
ATTENTION_KEYS = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KernelTables:
    """Seconds of a whole model's kernels.

    Attributes:
        tokens, tokens_s: dense kernels by tokens of an iteration.
        sequences, sequences_s: head and sampler by sequences.
        axes: grids of prefill chunk, tokens before it, decoding sequences, context of each.
        attention_s: on those grids, in their order.
    """

    tokens: Floats
    tokens_s: Floats
    sequences: Floats
    sequences_s: Floats
    axes: tuple[Floats, Floats, Floats, Floats]
    attention_s: Floats


def read_kernel_tables(folder: Path, layers: int) -> KernelTables:
    """The bundle in ``folder``, for a model of ``layers`` layers.

    Raises:
        ProfileError: a file or a column is missing, or a number is none.
    """
    dense = _by_layer(folder / "dense.csv", "tokens")
    tokens = sorted(next(iter(dense.values())))
    times = {name: _count(name, layers) for name in dense}
    dense_us = [sum(times[name] * dense[name][count] for name in dense) for count in tokens]
    heads = _by_layer(folder / "per_sequence.csv", "sequences")
    sequences = sorted(next(iter(heads.values())))
    heads_us = [sum(column[count] for column in heads.values()) for count in sequences]
    axes, attention_us = _attention(folder / "attention.csv")
    return KernelTables(
        np.asarray(tokens, dtype=float),
        np.asarray(dense_us) * 1e-6,
        np.asarray(sequences, dtype=float),
        np.asarray(heads_us) * 1e-6,
        axes,
        attention_us * layers * 1e-6,
    )


def _count(name: str, layers: int) -> int:
    return 1 if name in ONCE else layers * TIMES_A_LAYER.get(name, 1)


def _by_layer(path: Path, axis: str) -> dict[str, dict[int, float]]:
    table: dict[str, dict[int, float]] = defaultdict(dict)
    for row in read_rows(path, ("layer", axis, "time_us"), WHAT):
        table[row.cells["layer"]][row.count(axis)] = row.number("time_us")
    return table


def _attention(path: Path) -> tuple[tuple[Floats, Floats, Floats, Floats], Floats]:
    """The grid with its gaps filled: what was not measured is like the nearest that was."""
    points: dict[tuple[float, ...], float] = {}
    for row in read_rows(path, (*ATTENTION_KEYS, "time_us"), WHAT):
        place = tuple(row.number(key) for key in ATTENTION_KEYS)
        points[place] = row.number("time_us")
    grids = [sorted({place[axis] for place in points}) for axis in range(4)]
    table = np.full([len(grid) for grid in grids], np.nan)
    for index in product(*(range(len(grid)) for grid in grids)):
        table[index] = _nearest(points, [grids[axis][place] for axis, place in enumerate(index)])
    first, second, third, fourth = (np.asarray(grid) for grid in grids)
    return (first, second, third, fourth), _filled(table)


def _nearest(points: Mapping[tuple[float, ...], float], place: Sequence[float]) -> float:
    """The measured value, where arguments that do not matter (no chunk, nobody decodes) are 0."""
    chunk, before, decoding, context = place
    wanted = (chunk, before if chunk else 0.0, decoding, context if decoding else 0.0)
    if not chunk and not decoding:
        return 0.0
    return points.get(wanted, np.nan)


def _filled(table: Floats) -> Floats:
    """Gaps along each axis, last axis first, take the nearest lower or else higher value."""
    for axis in (3, 1, 2, 0):
        moved = np.moveaxis(table, axis, -1)
        for step in range(1, moved.shape[-1]):
            gap = np.isnan(moved[..., step])
            moved[..., step][gap] = moved[..., step - 1][gap]
        for step in range(moved.shape[-1] - 2, -1, -1):
            gap = np.isnan(moved[..., step])
            moved[..., step][gap] = moved[..., step + 1][gap]
    return table
