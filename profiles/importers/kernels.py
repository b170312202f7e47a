"""Kernel times as LLMServingSim's profiler measures them in vLLM, for the cost of iterations.

A bundle folder holds ``dense.csv`` (layer, tokens, time_us), ``per_sequence.csv`` (layer,
sequences, time_us) and ``attention.csv`` (prefill_chunk, kv_prefill, n_decode, kv_decode, time_us;
one layer). Source of the format: github.com/casys-kaist/LLMServingSim, profiler/.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.importers.rows import read_rows
from staircase.errors import ProfileError

# How often a kernel runs in a model of L layers: once, or this many times a layer.
ONCE = ("embedding", "final_layernorm")
TIMES_A_LAYER = {"layernorm": 2}
WHAT = "a kernel table of LLMServingSim"
ATTENTION_KEYS = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
        ProfileError: a file or a column is missing, a number is wrong, or the model has experts.
    """
    if has_experts(folder):
        raise ProfileError(
            f"{folder}: of a model with experts, whose times, in moe.csv, are not read"
        )
    dense = _by_layer(folder / "dense.csv", "tokens")
    tokens = sorted(next(iter(dense.values())))
    times = {name: _count(name, layers) for name in dense}
    dense_us = [sum(times[name] * dense[name][count] for name in dense) for count in tokens]
    heads = _by_layer(folder / "per_sequence.csv", "sequences")
    sequences = sorted(next(iter(heads.values())))
    heads_us = [sum(column[count] for column in heads.values()) for count in sequences]
    axes, attention_us = attention_grid(read_attention(folder / "attention.csv"))
    return KernelTables(
        np.asarray(tokens, dtype=float),
        np.asarray(dense_us) * 1e-6,
        np.asarray(sequences, dtype=float),
        np.asarray(heads_us) * 1e-6,
        axes,
        attention_us * layers * 1e-6,
    )


def has_experts(folder: Path) -> bool:
    """Whether a table of experts is in the bundle, or in that of another tensor parallelism."""
    beside = folder.parent.glob("tp*/moe.csv") if folder.name.startswith("tp") else ()
    return any(((folder / "moe.csv").exists(), *beside))


def _count(name: str, layers: int) -> int:
    return 1 if name in ONCE else layers * TIMES_A_LAYER.get(name, 1)


def _by_layer(path: Path, axis: str) -> dict[str, dict[int, float]]:
    table: dict[str, dict[int, float]] = defaultdict(dict)
    for row in read_rows(path, ("layer", axis, "time_us"), WHAT):
        table[row.cells["layer"]][row.count(axis)] = row.positive("time_us")
    _check_sizes(path, axis, table)
    return table


def _check_sizes(path: Path, axis: str, table: Mapping[str, Mapping[int, float]]) -> None:
    """All kernels of an iteration have to be known at the same sizes."""
    every = sorted({size for times in table.values() for size in times})
    for name, times in table.items():
        for size in every:
            if size not in times:
                raise ProfileError(f"{path}: layer {name!r} has no row with {axis} {size}")


def read_attention(path: Path) -> dict[tuple[float, ...], float]:
    """Microseconds of one layer by ``ATTENTION_KEYS``."""
    rows = read_rows(path, (*ATTENTION_KEYS, "time_us"), WHAT)
    found = {
        tuple(float(row.count(key)) for key in ATTENTION_KEYS): row.positive("time_us")
        for row in rows
    }
    for axis in (0, 2):
        if not any(place[axis] for place in found):
            raise ProfileError(f"{path}: no row has a {ATTENTION_KEYS[axis]} above 0")
    return found


def attention_grid(
    points: Mapping[tuple[float, ...], float],
) -> tuple[tuple[Floats, Floats, Floats, Floats], Floats]:
    """The product of all sizes, with the gaps between what was measured filled.

    A profile is the union of grids of its own, so most of the product was not measured.
    """
    first, second, third, fourth = (
        np.unique([place[axis] for place in points]) for axis in range(4)
    )
    axes = (first, second, third, fourth)
    table = np.full([len(axis) for axis in axes], np.nan)
    for index in product(*(range(len(axis)) for axis in axes)):
        place = [float(axes[axis][at]) for axis, at in enumerate(index)]
        table[index] = _measured(points, place)
    return axes, _filled(table, axes)


def _measured(points: Mapping[tuple[float, ...], float], place: Sequence[float]) -> float:
    """The measured value, where arguments that do not matter (no chunk, nobody decodes) are 0."""
    chunk, before, decoding, context = place
    wanted = (chunk, before if chunk else 0.0, decoding, context if decoding else 0.0)
    if not chunk and not decoding:
        return 0.0
    return points.get(wanted, np.nan)


def _filled(table: Floats, axes: Sequence[Floats]) -> Floats:
    """First what lies between measured values, linearly; then what lies below by the nearest, and
    what lies above by the last two, for attention grows with every size."""
    for axis in (3, 1, 0, 2):
        for line in _lines(table, axis):
            known = np.flatnonzero(~np.isnan(line))
            if len(known):
                span = slice(known[0], known[-1] + 1)
                line[span] = np.interp(axes[axis][span], axes[axis][known], line[known])
    for axis in (3, 1, 2, 0):
        for line in _lines(table, axis):
            known = np.flatnonzero(~np.isnan(line))
            if len(known):
                line[: known[0]] = line[known[0]]
                line[known[-1] + 1 :] = _beyond(axes[axis], line, known)
    return table


def _beyond(axis: Floats, line: Floats, known: Ints) -> Floats:
    last = known[-1]
    further = axis[last + 1 :] - axis[last]
    if len(known) == 1:
        return np.full_like(further, line[last])
    rise = (line[last] - line[known[-2]]) / (axis[last] - axis[known[-2]])
    return np.asarray(line[last] + max(0.0, rise) * further)


def _lines(table: Floats, axis: int) -> Iterator[Floats]:
    """Views of all lines along ``axis``."""
    moved = np.moveaxis(table, axis, -1)
    return (moved[index] for index in np.ndindex(moved.shape[:-1]))
