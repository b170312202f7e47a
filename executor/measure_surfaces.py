"""Measures what reading less costs one request: the surfaces of a quality profile.

One forward pass a read level and prompt order. Interleaved, what was written before what was read
matters too, so staircases are probed with their rounds in place: by how much each is beyond the
flat surface, at the level that it had read, is what the order costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from executor.forced_reading import ForcedReading
from executor.runtime import Outcome
from executor.scorer import Comparison, Scorer
from profiles.quality import QualitySample, Surface, bin_rows
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import Prompt
from staircase.schedule import LAYOUTS, constant

Floats = NDArray[np.float64]
FIGURES = ("loss", "agreement", "nll_gap")
# Staircases along which the interleaved layout is scored: first chunk, later chunks, write.
INTERLEAVE_PROBES = (
    (4, 4, 8),
    (4, 12, 4),
    (4, 32, 16),
    (12, 4, 2),
    (12, 12, 8),
    (24, 12, 4),
    (24, 32, 16),
    (48, 12, 8),
)


def measure_sample(
    pipeline: Pipeline,
    scorers: Mapping[str, Scorer],
    outcome: Outcome,
    score: float | None,
    read_levels: Sequence[int],
    bin_tokens: int,
    left_out: int | None = None,
) -> QualitySample:
    """Scores a fully read ``outcome`` again with less read.

    Args:
        scorers: by agent name.
        left_out: also measure what it costs to leave out a source: this one, counted round.
    """
    agents = [agent.name for agent in pipeline]
    fixed = {name: len(ids) for name, ids in outcome.ids.items() if name not in agents}
    written = {name: len(outcome.ids[name]) for name in agents}
    surfaces, without = {}, {}
    for agent in pipeline.readers:
        probe = _Probe(agent, scorers[agent.name], outcome, read_levels, bin_tokens)
        surfaces[agent.name] = probe.by_layout()
        if left_out is not None and len(agent.reads) > 1:
            without[agent.name] = probe.without(left_out % len(agent.reads))
    return QualitySample(fixed, written, surfaces, score, without)


class _Probe:
    """One agent of one request."""

    def __init__(
        self,
        agent: Agent,
        scorer: Scorer,
        outcome: Outcome,
        read_levels: Sequence[int],
        bin_tokens: int,
    ) -> None:
        self._forced = ForcedReading(agent, scorer, outcome.ids)
        self._read_levels = read_levels
        self._bin_tokens = bin_tokens

    def by_layout(self) -> dict[str, Surface]:
        """Layouts whose prompts are the same are scored once."""
        done: dict[tuple[Prompt, ...], list[Comparison]] = {}
        surfaces: dict[str, Surface] = {}
        for layout in LAYOUTS:
            rounds = [self._forced.flat(level) for level in [*self._read_levels, None]]
            prompts = tuple(self._forced.prompt(layout, some) for some in rounds)
            if prompts not in done:
                done[prompts] = self._compared(prompts[-1], prompts[:-1])
            rows = done[prompts]
            surfaces[layout] = self._binned(
                self._interleaved(rows) if layout == "interleave" else rows
            )
        return surfaces

    def without(self, source: int) -> Surface:
        """The surface of the first layout with nothing read of one source."""
        forced, layout = self._forced, LAYOUTS[0]
        levels = [*self._read_levels, None]
        prompts = [forced.prompt(layout, forced.flat(level, source)) for level in levels]
        full = forced.prompt(layout, forced.flat(None))
        return self._binned(forced.compare(full, prompts) if forced.text_tokens else self._same())

    def _compared(self, full: Prompt, less: Sequence[Prompt]) -> list[Comparison]:
        """A row a read level, then full reading beside itself."""
        if not self._forced.text_tokens:
            return self._same()
        return [*self._forced.compare(full, less), *self._same()[-1:]]

    def _same(self) -> list[Comparison]:
        """Full reading beside itself, as if that were every row."""
        ones = np.ones(max(self._forced.text_tokens, 1))
        return [Comparison(0 * ones, ones, 0 * ones)] * (len(self._read_levels) + 1)

    def _interleaved(self, flat: Sequence[Comparison]) -> list[Comparison]:
        """The ``flat`` rows and what the order of texts costs beyond them."""
        forced = self._forced
        if not forced.text_tokens:
            return list(flat)
        probes = [forced.along(constant(*sizes)) for sizes in INTERLEAVE_PROBES]
        full = forced.prompt("interleave", forced.flat(None))
        found = forced.compare(full, [forced.prompt("interleave", probe) for probe in probes])
        levels = np.array([forced.levels(probe) for probe in probes])
        longest = max(forced.lengths)
        knots = np.array([*(min(level, longest) for level in self._read_levels), longest])
        columns = []
        for name in FIGURES:
            rows = np.array([getattr(row, name) for row in flat])
            probed = np.array([getattr(one, name) for one in found])
            columns.append(rows + _beyond(rows, knots, levels, probed))
        return [Comparison(*row) for row in zip(*columns, strict=True)]

    def _binned(self, rows: Sequence[Comparison]) -> Surface:
        return Surface(
            *(
                bin_rows([getattr(row, name).tolist() for row in rows], self._bin_tokens)
                for name in FIGURES
            )
        )


def _beyond(rows: Floats, knots: Floats, levels: NDArray[np.int64], probed: Floats) -> Floats:
    """By how much ``probed`` is beyond ``rows`` at each of ``knots`` and every position.

    Args:
        rows: [knots, positions]
        levels, probed: [probes, positions]
    """
    columns = []
    for row, level, value in zip(rows.T, levels.T, probed.T, strict=True):
        excess = value - np.interp(level, knots, row)
        seen = np.unique(level)
        columns.append(np.interp(knots, seen, [excess[level == one].mean() for one in seen]))
    return np.array(columns).T
