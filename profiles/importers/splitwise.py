"""Grids of whole prefills and decode iterations, as Splitwise measured them.

``perf_model.csv`` has a row per repetition: model, hardware, tensor_parallel; prompt_size,
batch_size, token_size (tokens written); prompt_time and token_time in ms, the latter per token.
Source of the format: github.com/Mutinifni/splitwise-sim, data/.

With b sequences of p prompt tokens, T = b·p, and a mean context of c = p + half of what is written:

    prefill  s(p, b) = p0 + p1·T + Σ_j p_j·max(0, T − knot_j) + q·T·p
    decode   s(b, c) = d0 + d1·b + d2·b·c

each times the ratio that was measured nearby (``profiles.surface``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiles.hardware.gpus import HARDWARE
from profiles.importers.rows import CsvRow, read_rows
from profiles.surface import FittedSurface, Floats, fit_surface
from staircase.errors import ProfileError

SETUP = ("model", "hardware", "tensor_parallel")
SIZES = ("prompt_size", "batch_size", "token_size")
TIMES = ("prompt_time", "token_time")
# Tokens at which computing takes as long as reading the weights, by the datasheets of the two GPUs
# that were measured; and one beyond which they grow steeper again, as the rows show.
RIDGES = tuple(
    HARDWARE[name].peak_flops / HARDWARE[name].memory_bytes_per_s
    for name in ("A100-80GB-SXM", "H100-SXM")
)
KNOTS = (*RIDGES, 2048)
FEWEST = 4


@dataclass(frozen=True)
class Setup:
    model: str
    hardware: str
    tensor_parallel: int


@dataclass(frozen=True)
class GridPoint:
    """Medians over repetitions of a batch of prompts of one size that write ``written`` each."""

    prompt: int
    batch: int
    written: int
    prefill_s: float
    decode_s: float

    @property
    def context(self) -> float:
        """Mean context of a sequence while it decodes."""
        return self.prompt + self.written / 2


@dataclass(frozen=True)
class GridProfile:
    """Measured points and the surfaces through them: (prompt, batch) and (batch, context).

    Attributes:
        left_out: points that took less than half as long to prefill as one with less to do.
    """

    points: tuple[GridPoint, ...]
    left_out: tuple[GridPoint, ...]
    prefill: FittedSurface
    decode: FittedSurface

    def prefill_s(self, prompt: int, batch: int) -> float:
        return self.prefill.at(prompt, batch)

    def decode_s(self, batch: int, context: float) -> float:
        """Seconds of one token for each of ``batch`` sequences of this mean context."""
        return self.decode.at(batch, context)


def read_splitwise(path: Path) -> dict[Setup, GridProfile]:
    """The profile of each setup in the file.

    Raises:
        ProfileError: the file is wrong, or has too few points of a setup.
    """
    rows = read_rows(path, (*SETUP, *SIZES, *TIMES), "Splitwise's perf_model.csv")
    by_setup: dict[Setup, list[CsvRow]] = defaultdict(list)
    for row in rows:
        by_setup[_setup(row)].append(row)
    profiles = {}
    for setup, own in by_setup.items():
        points = _points(own)
        if len(points) < FEWEST:
            raise ProfileError(f"{path}: {len(points)} points of {setup}; it takes {FEWEST}")
        profiles[setup] = fit_grid(points)
    return profiles


def fit_grid(points: Iterable[GridPoint]) -> GridProfile:
    measured = tuple(points)
    bad = tuple(point for point in measured if _is_impossible(point, measured))
    good = tuple(point for point in measured if point not in bad)
    prefill: dict[tuple[int, int], list[float]] = defaultdict(list)
    for point in good:
        prefill[point.prompt, point.batch].append(point.prefill_s)
    prefill_s = np.array([np.median(seconds) for seconds in prefill.values()])
    decode_s = np.array([point.decode_s for point in good])
    return GridProfile(
        good,
        bad,
        fit_surface(_prefill_form, list(prefill), prefill_s),
        fit_surface(_decode_form, [(p.batch, p.context) for p in good], decode_s),
    )


def _setup(row: CsvRow) -> Setup:
    cells: Mapping[str, str] = row.cells
    return Setup(cells["model"], cells["hardware"], row.count("tensor_parallel"))


def _points(rows: Iterable[CsvRow]) -> list[GridPoint]:
    times: dict[tuple[int, ...], list[tuple[float, ...]]] = defaultdict(list)
    for row in rows:
        sizes = tuple(row.count(column, least=1) for column in SIZES)
        times[sizes].append(tuple(row.positive(column) for column in TIMES))
    medians = {sizes: np.median(found, axis=0) * 1e-3 for sizes, found in times.items()}
    return [GridPoint(p, b, w, float(m[0]), float(m[1])) for (p, b, w), m in medians.items()]


def _is_impossible(point: GridPoint, others: Iterable[GridPoint]) -> bool:
    """Splitwise's rows hold such, of batches that did not fit."""
    return any(
        other.prompt <= point.prompt
        and other.batch <= point.batch
        and point.prefill_s < other.prefill_s / 2
        for other in others
    )


def _prefill_form(arguments: Floats) -> Floats:
    prompt, batch = arguments.T
    tokens = prompt * batch
    bends = [np.maximum(0.0, tokens - knot) for knot in KNOTS]
    return np.stack([np.ones_like(tokens), tokens, *bends, tokens * prompt], axis=1)


def _decode_form(arguments: Floats) -> Floats:
    batch, context = arguments.T
    return np.stack([np.ones_like(batch), batch, batch * context], axis=1)
