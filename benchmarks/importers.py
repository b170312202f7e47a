"""Leave-out errors of imported profiles: what was measured against a fit that did not see it.

    python -m benchmarks.importers DATA

DATA holds ``splitwise-sim/perf_model.csv`` and ``llmservingsim/profiler/perf``. Of Splitwise's
grids whole batch sizes and whole prompt sizes are left out one after another; the two lines that a
grid consists of, batch 1 and prompt 512, stay. Of LLMServingSim's attention tables a fifth of the
points is left out at a time, or every fourth size of one argument but its ends; of its other tables
every other row. A whole iteration is the sum of its kernels, without overhead.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from profiles.hardware.known_models import SHAPES, known_shape
from profiles.importers.deployment import Deployment, Link
from profiles.importers.kernels import (
    ATTENTION_KEYS,
    Floats,
    KernelTables,
    attention_grid,
    read_attention,
    read_kernel_tables,
)
from profiles.importers.splitwise import GridPoint, GridProfile, fit_grid, read_splitwise
from simulator.core.cost import Cost, at, attention_ps, cost_of_kernels, mixed_attention_ps

COLUMNS = ("what", "left out", "points", "median error", "90 % below", "worst")
# Splitwise's grid is two lines, which cross here.
PROMPT, BATCH = 512, 1
FOLDS, STRIDE = 5, 4
# Devices that tell each other everything at once: only kernels are judged.
NO_COST = Link(float("inf"), 0.0)
# Of the recorded engines.
MOST_TOKENS, MOST_SEQUENCES = 2048 + 256, 257

Place = tuple[float, ...]


def grid_errors(
    profiles: Iterable[GridProfile], size: Callable[[GridPoint], int], kept: int, inside: bool
) -> Iterator[tuple[float, float]]:
    """Relative errors of prefill and decode, each size but ``kept`` left out in turn.

    Args:
        inside: only sizes that have a smaller and a larger one.
    """
    for profile in profiles:
        sizes = sorted({size(point) for point in profile.points})
        for value in sizes[1:-1] if inside else sizes:
            if value != kept:
                yield from _errors_without(profile, size, value)


def _errors_without(
    profile: GridProfile, size: Callable[[GridPoint], int], value: int
) -> Iterator[tuple[float, float]]:
    fitted = fit_grid(point for point in profile.points if size(point) != value)
    for point in profile.points:
        if size(point) == value:
            prefill_s = fitted.prefill_s(point.prompt, point.batch)
            decode_s = fitted.decode_s(point.batch, point.context)
            yield prefill_s / point.prefill_s - 1, decode_s / point.decode_s - 1


def grid_rows(profiles: Sequence[GridProfile]) -> Iterator[Sequence[str]]:
    for name, size, kept in (
        ("batch sizes", lambda point: point.batch, BATCH),
        ("prompt sizes", lambda point: point.prompt, PROMPT),
    ):
        for where, inside in (("", False), (", not the ends", True)):
            errors = list(grid_errors(profiles, size, kept, inside))
            for phase, column in zip(("prefill", "decode"), zip(*errors, strict=True), strict=True):
                yield row(f"Splitwise {phase}", f"{name}{where}", column)


def kernel_rows(folder: Path, deployment: Deployment, name: str) -> Iterator[Sequence[str]]:
    places = list(read_attention(folder / "attention.csv"))
    for left_out, folds in (("a fifth of the points", _fifths(places)), *_sizes(places)):
        errors = [pair for fold in folds for pair in kernel_errors(folder, deployment, fold)]
        for what, column in zip(("attention", "iteration"), zip(*errors, strict=True), strict=True):
            yield row(f"{name} {what}", left_out, column)


def _fifths(places: Sequence[Place]) -> list[list[Place]]:
    fold = np.random.default_rng(0).permutation(len(places)) % FOLDS
    return [[p for p, own in zip(places, fold, strict=True) if own == n] for n in range(FOLDS)]


def _sizes(places: Sequence[Place]) -> Iterator[tuple[str, list[list[Place]]]]:
    for axis, key in enumerate(ATTENTION_KEYS):
        inner = sorted({place[axis] for place in places} - {0.0})[1:-1]
        chosen = [set(inner[start::STRIDE]) for start in range(STRIDE)]
        yield f"sizes of {key}", [[p for p in places if p[axis] in sizes] for sizes in chosen]


def kernel_errors(
    folder: Path, deployment: Deployment, left_out: Sequence[Place]
) -> Iterator[tuple[float, float]]:
    """Relative errors of attention and of the whole iteration, at each place ``left_out``."""
    points, layers = read_attention(folder / "attention.csv"), deployment.layers
    full = read_kernel_tables(folder, deployment)
    hidden = set(left_out)
    axes, times_us = attention_grid({p: us for p, us in points.items() if p not in hidden})
    seen = replace(_thinned(full), axes=axes, attention_s=times_us * layers * 1e-6)
    real, fitted = (cost_of_kernels(t, MOST_TOKENS, MOST_SEQUENCES) for t in (full, seen))
    for place in left_out:
        measured_ps, forecast_ps = points[place] * layers * 1e6, _attention_ps(fitted, place)
        whole_ps = _others_ps(real, place) + measured_ps
        off = _others_ps(fitted, place) + forecast_ps - whole_ps
        yield forecast_ps / measured_ps - 1, off / whole_ps


def _thinned(tables: KernelTables) -> KernelTables:
    """Every other row of the tables by tokens and by sequences, and the last."""

    def half(column: Floats) -> Floats:
        return np.append(column[:-1:2], column[-1])

    return replace(
        tables,
        tokens=half(tables.tokens),
        tokens_s=half(tables.tokens_s),
        sequences=half(tables.sequences),
        sequences_s=half(tables.sequences_s),
    )


def _attention_ps(cost: Cost, place: Place) -> int:
    chunk, before, decoding, context = map(int, place)
    if not chunk:
        return attention_ps(cost, decoding, decoding * context)
    return mixed_attention_ps(
        cost, chunk, chunk * (2 * before + chunk), decoding, decoding * context
    )


def _others_ps(cost: Cost, place: Place) -> int:
    chunk, _, decoding, _ = map(int, place)
    if not chunk:
        return at(cost.decode_ps, decoding)
    return at(cost.tokens_ps, chunk + decoding) + at(cost.sequences_ps, decoding + 1)


def row(what: str, left_out: str, errors: Sequence[float]) -> Sequence[str]:
    off = np.abs(errors)
    figures = (np.median(off), np.quantile(off, 0.9), off.max())
    return what, left_out, str(len(off)), *(f"{figure:.1%}" for figure in figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    table = Table(*COLUMNS)
    profiles = list(read_splitwise(data / "splitwise-sim" / "perf_model.csv").values())
    for cells in grid_rows(profiles):
        table.add_row(*cells)
    perf = data / "llmservingsim" / "profiler" / "perf"
    for folder in sorted(perf.glob("*/*/*/bf16/tp*")):
        hardware, _, model, _, workers = folder.relative_to(perf).parts
        shape = known_shape(model)
        if shape is None:
            print(f"{folder}: left out, {model} is none of {', '.join(SHAPES)}")
            continue
        spreads_experts = shape.experts > 1 and workers != "tp1"
        deployment = replace(Deployment.of(shape, NO_COST), is_expert_parallel=spreads_experts)
        for cells in kernel_rows(folder, deployment, f"{model} {hardware} {workers}"):
            table.add_row(*cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
