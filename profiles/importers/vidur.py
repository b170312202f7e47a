"""Kernel times in Vidur's CSV format, for one device without tensor parallelism.

A folder holds ``mlp.csv`` (num_tokens and a time_stats.NAME.median for each kernel, in ms, of one
layer) and ``attention.csv`` (is_prefill; prefill_chunk_size, kv_cache_size before the chunk;
batch_size of decoding sequences with kv_cache_size each; and likewise times). An iteration is
layers × (all of them), prefill and decode attention added up. Vidur counts neither embedding nor
head: the embedding is counted here, once; head and sampler are not measured and belong to the
overhead. Source of the format: github.com/microsoft/vidur, docs/profiling.md and
vidur/entities/execution_time.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from profiles.importers.deployment import Deployment
from profiles.importers.kernels import KernelTables
from profiles.importers.rows import CsvRow, read_rows
from profiles.surface import FittedSurface, Floats, Form, fit_surface
from staircase.errors import ProfileError

ONCE = ("emb",)
EACH_LAYER = (
    "input_layernorm",
    "attn_pre_proj",
    "attn_rope",
    "attn_post_proj",
    "post_attention_layernorm",
    "mlp_up_proj",
    "mlp_act",
    "mlp_down_proj",
    "add",
)
ATTENTION = ("attn_kv_cache_save", "attn_prefill", "attn_decode")
WORKERS = "num_tensor_parallel_workers"
SIZES = ("is_prefill", "prefill_chunk_size", "kv_cache_size", "batch_size")
NODES = 16
# Beyond the measured sequences the fitted form holds, up to here.
MOST_SEQUENCES = 512

Curve = tuple[Floats, Floats]


def read_vidur(folder: Path, deployment: Deployment) -> KernelTables:
    """The tables in ``folder``, for a dense model on one device.

    Raises:
        ProfileError: a file or a column is missing, a number is none, or ``deployment`` is another.
    """
    if deployment.devices > 1 or deployment.experts > 1:
        raise ProfileError(f"{folder}: Vidur's tables are read of dense models on one device only")
    layers = deployment.layers
    dense = _read(folder / "mlp.csv", ("num_tokens",), (*ONCE, *EACH_LAYER))
    attention = _read(folder / "attention.csv", SIZES, ATTENTION)
    tokens = np.unique([float(row.count("num_tokens")) for row in dense])
    once_ms = sum(_at(tokens, _curve(dense, name, _tokens)) for name in ONCE)
    layer_ms = sum(_at(tokens, _curve(dense, name, _tokens)) for name in EACH_LAYER)
    saved_ms = _at(tokens, _curve(attention, "attn_kv_cache_save", _new_tokens))
    axes, attention_ms = _attention_grid(attention)
    return KernelTables(
        tokens,
        (once_ms + layers * (layer_ms + saved_ms)) * 1e-3,
        np.array([0.0, 1.0]),
        np.zeros(2),
        axes,
        attention_ms * layers * 1e-3,
    )


def most_sequences(folder: Path) -> int:
    """The most sequences that were measured decoding at once; raises as ``read_vidur``."""
    rows = _read(folder / "attention.csv", SIZES, ATTENTION)
    return max((row.count("batch_size") for row in rows if not _is_prefill(row)), default=0)


def _time(name: str) -> str:
    return f"time_stats.{name}.median"


def _read(path: Path, sizes: Sequence[str], kernels: Sequence[str]) -> list[CsvRow]:
    columns = (*sizes, WORKERS, *map(_time, kernels))
    rows = read_rows(path, columns, "a profile in Vidur's format")
    alone = [row for row in rows if row.count(WORKERS) == 1]
    if not alone:
        raise ProfileError(f"{path}: no row with {WORKERS} 1; others are not read")
    return alone


def _tokens(row: CsvRow) -> int:
    return row.count("num_tokens")


def _new_tokens(row: CsvRow) -> int:
    return row.count("prefill_chunk_size") if _is_prefill(row) else row.count("batch_size")


def _is_prefill(row: CsvRow) -> bool:
    said = row.cells["is_prefill"].lower()
    if said not in ("true", "false"):
        raise row.error("is_prefill", "must be True or False")
    return said == "true"


def _curve(rows: Sequence[CsvRow], kernel: str, size: Callable[[CsvRow], int]) -> Curve:
    """Medians by size; cells that are empty were not measured."""
    medians = _medians(rows, kernel, lambda row: (size(row),))
    sizes = sorted(medians)
    return np.array(sizes, dtype=float)[:, 0], np.array([medians[place] for place in sizes])


def _at(sizes: Floats, curve: Curve) -> Floats:
    return np.asarray(np.interp(sizes, *curve))


def _medians(
    rows: Sequence[CsvRow], kernel: str, place: Callable[[CsvRow], tuple[int, ...]]
) -> Mapping[tuple[int, ...], float]:
    column = _time(kernel)
    found: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for row in rows:
        if row.cells[column]:
            found[place(row)].append(row.number(column))
    if not found:
        raise ProfileError(f"{rows[0].path}: no row says {column}, which an iteration needs")
    return {place: float(np.median(times)) for place, times in found.items()}


def _attention_grid(rows: Sequence[CsvRow]) -> tuple[tuple[Floats, Floats, Floats, Floats], Floats]:
    """Axes and ms of one layer, prefill and decode added up."""
    prefills = [row for row in rows if _is_prefill(row)]
    decodes = [row for row in rows if not _is_prefill(row)]
    if not prefills or not decodes:
        raise ProfileError(f"{rows[0].path}: needs rows with is_prefill True and such with False")
    prefill = _surface(prefills, "attn_prefill", "prefill_chunk_size", _prefill_form)
    decode = _surface(decodes, "attn_decode", "batch_size", _decode_form)
    chunks, before = _nodes(prefills, "prefill_chunk_size"), _nodes(prefills, "kv_cache_size")
    decoding, contexts = _nodes(decodes, "batch_size"), _nodes(decodes, "kv_cache_size")
    doubled = [n for n in 2.0 ** np.arange(10) if decoding[-1] < n <= MOST_SEQUENCES]
    decoding = np.concatenate([decoding, doubled])
    prefill_ms, decode_ms = _on_grid(prefill, chunks, before), _on_grid(decode, decoding, contexts)
    # Nobody was measured with no context: as with the least.
    decode_ms[:, 0] = decode_ms[:, 1]
    axes = (chunks, before, decoding, contexts)
    return axes, prefill_ms[:, :, None, None] + decode_ms


def _surface(rows: Sequence[CsvRow], kernel: str, size: str, form: Form) -> FittedSurface:
    medians = _medians(rows, kernel, lambda row: (row.count(size), row.count("kv_cache_size")))
    for (own, before), ms in medians.items():
        if not own or not ms:
            place = f"{size} {own}, kv_cache_size {before}"
            raise ProfileError(
                f"{rows[0].path}: {_time(kernel)} at {place} is {ms:g}; "
                "sizes and times must be more than 0"
            )
    return fit_surface(form, list(medians), np.array(list(medians.values())))


def _nodes(rows: Sequence[CsvRow], column: str) -> Floats:
    """0 and about ``NODES`` of the measured sizes, evenly by their logarithm, both ends too."""
    sizes = np.unique([float(row.count(column)) for row in rows if row.count(column)])
    path = rows[0].path
    if not len(sizes):
        raise ProfileError(f"{path}: no row has a {column} above 0")
    wanted = np.geomspace(sizes[0], sizes[-1], NODES)
    nearest = [int(np.abs(np.log(sizes / size)).argmin()) for size in wanted]
    return np.concatenate([[0.0], sizes[np.unique(nearest)]])


def _on_grid(surface: FittedSurface, first: Floats, second: Floats) -> Floats:
    """Where ``first`` is 0 there is nothing to do."""
    table = np.zeros((len(first), len(second)))
    places = np.stack(np.meshgrid(first[1:], second, indexing="ij"), axis=-1)
    table[1:] = surface(places.reshape(-1, 2)).reshape(len(first) - 1, len(second))
    return table


def _prefill_form(arguments: Floats) -> Floats:
    """Launch, chunk, tokens before it to read, and each new token with all before it."""
    chunk, before = arguments.T
    return np.stack([np.ones_like(chunk), chunk, before, chunk * before, chunk**2], axis=1)


def _decode_form(arguments: Floats) -> Floats:
    sequences, context = arguments.T
    return np.stack([np.ones_like(sequences), sequences, sequences * context], axis=1)
