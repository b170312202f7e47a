"""Lengths of texts, drawn from their distributions, and tied to each other by a Gaussian copula."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from staircase.bounds import MOST_TOKENS
from staircase.errors import WorkloadError
from staircase.files import named_path, read_csv, read_text
from staircase.request_trace import parse_tokens
from staircase.spec.workload_spec import Length, LengthFileSpec, LogNormalSpec

Floats: TypeAlias = npt.NDArray[np.float64]
Tokens: TypeAlias = npt.NDArray[np.int64]


def lengths_at(normals: Floats, length: Length, folder: Path) -> Tokens:
    """The length at the quantile of each standard normal: ties of normals tie lengths.

    Args:
        folder: from which the file of a ``LengthFileSpec`` is counted.

    Raises:
        WorkloadError: names the file and the line.
    """
    if isinstance(length, int):
        return np.full(len(normals), length)
    if isinstance(length, LogNormalSpec):
        middle = np.log(length.mean) - length.sigma**2 / 2
        drawn: Floats = np.rint(np.exp(middle + length.sigma * normals))
        return drawn.clip(1, MOST_TOKENS).astype(np.int64)
    # Only some workloads need it, and it takes longer to import than many a simulation to run.
    from scipy.special import ndtr

    values = _read(length, folder) if isinstance(length, LengthFileSpec) else length.values
    return np.quantile(values, ndtr(normals), method="inverted_cdf").astype(np.int64)


def _read(spec: LengthFileSpec, folder: Path) -> list[int]:
    path = named_path(spec.file, folder)
    if spec.column is None:
        text = read_text(path, WorkloadError, "lengths, one a line")
        lines = enumerate(text.split("\n"), start=1)
        cells = [(f"{path}, line {number}", line) for number, line in lines if line.strip()]
    else:
        rows = read_csv(path, [spec.column], WorkloadError, f"a CSV with column {spec.column!r}")
        cells = [(place, row[spec.column]) for place, row in rows]
    if not cells:
        raise WorkloadError(f"{path}: holds no length")
    return [parse_tokens(place, "a length", cell) for place, cell in cells]


def tied_normals(
    rng: np.random.Generator,
    correlation: float,
    requests: int,
    texts: int,
    known: Floats | None = None,
) -> Floats:
    """Standard normals by request and text; those of one request correlate pairwise.

    One common factor ties them. ``known`` are normals of one more text, already there: the factor
    is then drawn given these. Fewer requests are the first of more.
    """
    drawn: Floats = rng.standard_normal((requests, 1 + texts))
    common, own = drawn[:, :1], drawn[:, 1:]
    tie, rest = math.sqrt(correlation), math.sqrt(1 - correlation)
    if known is not None:
        common = tie * known[:, np.newaxis] + rest * common
    return tie * common + rest * own


def normal_scores(rng: np.random.Generator, lengths: Tokens) -> Floats:
    """The standard normals behind lengths, by their ranks; equal lengths in random order."""
    from scipy.special import ndtri

    order = np.lexsort((rng.random(len(lengths)), lengths))
    ranks = np.empty(len(lengths))
    ranks[order] = np.arange(len(lengths)) + 0.5
    scores: Floats = ndtri(ranks / len(lengths))
    return scores
