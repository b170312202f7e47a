"""Kernel times as LLMServingSim's profiler measures them in vLLM, for the cost of iterations.

A bundle folder holds ``dense.csv`` (layer, tokens, time_us), ``per_sequence.csv`` (layer,
sequences, time_us) and ``attention.csv`` (prefill_chunk, kv_prefill, n_decode, kv_decode, time_us;
one layer); of a model with experts ``moe.csv`` (tokens, activated_experts, time_us; one layer). The
folder of one device of n in tensor parallel is named tpn. What devices tell each other is in none
of them. Source of the format: github.com/casys-kaist/LLMServingSim, profiler/.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.importers.bundle_meta import check_meta, has_query_norms
from profiles.importers.deployment import Deployment
from profiles.importers.experts import FILE, experts_s
from profiles.importers.rows import read_rows
from staircase.errors import ProfileError

# How often a kernel runs in a model of L layers: once, or this many times a layer.
ONCE = ("embedding", "final_layernorm")
TIMES_A_LAYER = {"layernorm": 2}
# What an iteration needs, and what models may have besides.
ALWAYS = (*ONCE, "layernorm", "qkv_proj", "rotary_emb", "o_proj")
FEED_FORWARD = ("gate_up_proj", "act_fn", "down_proj")
QUERY_NORM = "qk_norm"
HEAD = ("lm_head", "sampler")
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


def read_kernel_tables(folder: Path, deployment: Deployment) -> KernelTables:
    """The bundle in ``folder``, as a whole model's iterations with what devices tell each other.

    Of data-parallel ranks an iteration is that of all of them at once, for they wait for each other
    in every layer, and all that comes is divided evenly between them.

    Raises:
        ProfileError: a file, a column or a kernel is missing, a number is wrong, or the bundle is
            of something else than ``deployment``.
    """
    try:
        placed = deployment.on(_tensor_parallel(folder, deployment))
    except ProfileError as error:
        raise ProfileError(f"{folder}: {error}") from None
    check_meta(folder, placed)
    tokens, tokens_us = _tokens_us(folder, placed)
    sequences, sequences_us = _sum_up(_read_kernels(folder / "per_sequence.csv", "sequences", HEAD))
    (chunks, before, decoding, contexts), attention_us = attention_grid(
        read_attention(folder / "attention.csv")
    )
    ranks = placed.data_parallel
    return KernelTables(
        tokens * ranks,
        tokens_us * 1e-6,
        sequences * ranks,
        sequences_us * 1e-6,
        (chunks * ranks, before, decoding * ranks, contexts),
        attention_us * placed.layers * 1e-6,
    )


def _tensor_parallel(folder: Path, deployment: Deployment) -> int:
    named = re.fullmatch(r"tp(\d+)", folder.resolve().name)
    given = deployment.tensor_parallel
    if named is None:
        return given or 1
    if given not in (None, int(named[1])):
        raise ProfileError(f"is of tensor_parallel {named[1]}, not {given}")
    return int(named[1])


def _tokens_us(folder: Path, deployment: Deployment) -> tuple[Floats, Floats]:
    """Of all that depends on the tokens of a rank alone."""
    has_experts = deployment.experts > 1
    if (folder / FILE).exists() and not has_experts:
        raise ProfileError(f"{folder}: holds {FILE}, so give model, which has experts, not layers")
    needed = (
        *ALWAYS,
        *(() if has_experts else FEED_FORWARD),
        *((QUERY_NORM,) if has_query_norms(folder) else ()),
    )
    table = _read_kernels(folder / "dense.csv", "tokens", needed, also=(QUERY_NORM,))
    tokens, us = _sum_up(table, deployment.layers)
    if has_experts:
        # Experts that are activated do not grow linearly between measured sizes.
        every = np.arange(tokens[0], tokens[-1] + 1)
        tokens, us = every, np.interp(every, tokens, us)
        us += deployment.layers * 1e6 * np.array(experts_s(folder, deployment, tokens))
    return tokens, us + 1e6 * np.array([deployment.collectives_s(count) for count in tokens])


def _sum_up(
    table: Mapping[str, Mapping[int, float]], layers: int | None = None
) -> tuple[Floats, Floats]:
    """Sizes, and all kernels together; each once if there are no ``layers``."""
    sizes = sorted(next(iter(table.values())))
    times = {name: _count(name, layers) if layers else 1 for name in table}
    us = [sum(times[name] * table[name][size] for name in table) for size in sizes]
    return np.array(sizes, dtype=float), np.array(us)


def _count(name: str, layers: int) -> int:
    return 1 if name in ONCE else layers * TIMES_A_LAYER.get(name, 1)


def _read_kernels(
    path: Path, axis: str, needed: Collection[str], also: Collection[str] = ()
) -> dict[str, dict[int, float]]:
    """Microseconds by kernel and size."""
    table: dict[str, dict[int, float]] = defaultdict(dict)
    for row in read_rows(path, ("layer", axis, "time_us"), WHAT):
        name = row.cells["layer"]
        if name not in needed and name not in also:
            raise row.error("layer", f"must be one of {', '.join(needed)}")
        table[name][row.count(axis)] = row.positive("time_us")
    for name in needed:
        if name not in table:
            raise ProfileError(f"{path}: no row of layer {name!r}, which an iteration needs")
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
