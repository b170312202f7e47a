"""From tables of kernels to whole prefills and whole decode iterations, and a profile of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import numpy as np

from profiles.importers.deployment import Deployment
from profiles.importers.kernels import KernelTables, read_attention, read_kernel_tables
from profiles.importers.vidur import most_sequences, read_vidur
from profiles.latency.profile import DecodePoint, EngineProfile, PrefillPoint, fit_engine

# Chunk, tokens before it, decoding sequences, context of each.
Place = tuple[float, float, float, float]


def profile_of_bundle(folder: Path, deployment: Deployment, overhead_s: float) -> EngineProfile:
    """Of LLMServingSim's measured places; ``overhead_s`` is added to each iteration.

    Raises:
        ProfileError: a file or a column is missing, or a number is none.
    """
    tables = read_kernel_tables(folder, deployment)
    places = [(a, b, c, d) for a, b, c, d in read_attention(folder / "attention.csv")]
    return _profile(tables, places, overhead_s, has_experts=deployment.experts > 1)


def profile_of_vidur(folder: Path, deployment: Deployment, overhead_s: float) -> EngineProfile:
    """Of the nodes of ``read_vidur``, as far as was measured; raises as ``profile_of_bundle``."""
    tables, most = read_vidur(folder, deployment), most_sequences(folder)
    chunks, before, decoding, contexts = tables.axes
    prefills: Iterable[Place] = product(chunks, before, [0.0], [0.0])
    decodes: Iterable[Place] = product([0.0], [0.0], decoding[decoding <= most], contexts[1:])
    return _profile(tables, [*prefills, *decodes], overhead_s)


def _profile(
    tables: KernelTables,
    places: Iterable[Place],
    overhead_s: float,
    *,
    has_experts: bool = False,
) -> EngineProfile:
    prefill, decode = [], []
    for place in _within(tables, places):
        chunk, before, decoding, context = map(int, place)
        seconds = overhead_s + iteration_s(tables, place)
        if not decoding:
            prefill.append(PrefillPoint(chunk, before, seconds, 0.0, 1.0))
        elif not chunk:
            decode.append(DecodePoint(decoding, decoding * context, seconds, 0.0, 1.0))
    return fit_engine(prefill, decode, 0.0, has_experts=has_experts)


def _within(tables: KernelTables, places: Iterable[Place]) -> Iterator[Place]:
    """Those that compute something, and no more tokens than were measured."""
    most = tables.tokens[-1]
    return (place for place in places if 0 < place[0] + place[2] <= most)


def iteration_s(tables: KernelTables, place: Place) -> float:
    """The kernels' sum where attention was measured.

    Of all iterations it is said by ``simulator.core.cost``, which ``tests/test_bundles.py`` holds
    this one to.
    """
    chunk, _, decoding, _ = place
    index = tuple(
        int(np.searchsorted(axis, value)) for axis, value in zip(tables.axes, place, strict=True)
    )
    tokens_s = np.interp(chunk + decoding, tables.tokens, tables.tokens_s)
    sequences = decoding + (chunk > 0)
    sequences_s = np.interp(sequences, tables.sequences, tables.sequences_s)
    return float(tokens_s + sequences_s + tables.attention_s[index])
