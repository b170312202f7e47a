"""Measures what reading less costs one request: the surfaces of a quality profile.

One forward pass a read level and prompt order. Interleaved, what was written before what was read
matters too, so staircases are probed with their rounds in place: by how much each is beyond the
flat surface, at the level that it had read, is what the order costs; and beyond that, right after
new reading, what the interruption costs. Where rounds are appended, everything is read in more and
more of them: a small model writes otherwise when texts come in pieces. Where text is checked, each
level is also set beside a little more than it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from executor.measure.forced_reading import ForcedReading
from executor.runtime import Outcome
from executor.scorer import TokenFigures
from executor.scoring.prompt_scorer import PromptScorer
from profiles.quality.profile import (
    Matrix,
    QualitySample,
    QualitySurface,
    ReadOn,
    Restarts,
    bin_rows,
)
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import Prompt
from staircase.schedule import LAYOUTS, REBUILT_LAYOUTS, Layout, constant

Floats = NDArray[np.float64]
FIGURES = ("loss", "agreement", "nll_gap")
APPENDED: Layout = "append_rounds"
# In how many rounds everything is read where they are appended.
ROUND_COUNTS = (2, 4, 8, 16)
# How many tokens more are read where text is checked, each in another request.
READ_ON = (1, 4, 16, 64)
# Staircases along which the interleaved layout is scored: first chunk, later chunks, write. They
# interrupt the text in many places.
INTERLEAVE_PROBES = (
    (4, 4, 3),
    (12, 4, 2),
    (4, 12, 5),
    (12, 12, 7),
    (24, 12, 4),
    (8, 20, 11),
    (24, 32, 13),
    (48, 12, 9),
)


def measure_sample(
    pipeline: Pipeline,
    scorers: Mapping[str, PromptScorer],
    outcome: Outcome,
    score: float | None,
    read_levels: Sequence[int],
    bin_tokens: int,
    left_out: int | None = None,
    layouts: Sequence[Layout] = LAYOUTS,
    read_on: int | None = None,
) -> QualitySample:
    """Scores a fully read ``outcome`` again with less read, in each of ``layouts``.

    Args:
        scorers: by agent name, of those that read others.
        left_out: also measure what it costs to leave out a source: this one, counted round.
        read_on: also measure what so many tokens more change at each level.
    """
    agents = [agent.name for agent in pipeline]
    fixed = {name: len(ids) for name, ids in outcome.ids.items() if name not in agents}
    written = {name: len(outcome.ids[name]) for name in agents}
    surfaces, without, restarts, in_rounds, further = {}, {}, {}, {}, {}
    for agent in pipeline.readers:
        probe = _Probe(agent, scorers[agent.name], outcome, read_levels, bin_tokens, layouts)
        surfaces[agent.name], restarts[agent.name] = probe.by_layout()
        if APPENDED in layouts:
            in_rounds[agent.name] = probe.in_rounds()
        if left_out is not None and len(agent.reads) > 1:
            without[agent.name] = probe.without(left_out % len(agent.reads))
        if read_on is not None:
            further[agent.name] = probe.read_on(read_on)
    return QualitySample(
        fixed,
        written,
        surfaces,
        score,
        without,
        restarts,
        outcome.timeline.thinking_tokens,
        in_rounds,
        dict(outcome.updates),
        read_on=further,
    )


class _Probe:
    """One agent of one request."""

    def __init__(
        self,
        agent: Agent,
        scorer: PromptScorer,
        outcome: Outcome,
        read_levels: Sequence[int],
        bin_tokens: int,
        layouts: Sequence[Layout],
    ) -> None:
        self._forced = ForcedReading(agent, scorer, outcome.ids)
        self._read_levels = read_levels
        self._bin_tokens = bin_tokens
        self._layouts = layouts

    def by_layout(self) -> tuple[dict[str, QualitySurface], Restarts]:
        """Also what interruptions cost. Layouts whose prompts are the same are scored once."""
        done: dict[tuple[Prompt, ...], list[TokenFigures]] = {}
        surfaces: dict[str, QualitySurface] = {}
        restarts = Restarts((), ())
        for layout in self._layouts:
            rounds = [self._forced.flat(level) for level in [*self._read_levels, None]]
            prompts = tuple(self._forced.prompt(layout, some) for some in rounds)
            if prompts not in done:
                done[prompts] = self._compared(prompts[-1], prompts[:-1])
            rows = done[prompts]
            if layout == "interleave" and self._forced.text_tokens:
                rows, restarts = self._interleaved(rows)
            surfaces[layout] = self._binned(rows)
        return surfaces, restarts

    def without(self, source: int) -> QualitySurface:
        """The surface of the first layout with nothing read of one source."""
        forced, layout = self._forced, self._layouts[0]
        levels = [*self._read_levels, None]
        prompts = [forced.prompt(layout, forced.flat(level, source)) for level in levels]
        full = forced.prompt(layout, forced.flat(None))
        return self._binned(forced.compare(full, prompts) if forced.text_tokens else self._same())

    def in_rounds(self) -> QualitySurface:
        """The surface of everything read in each of ``ROUND_COUNTS`` rounds."""
        forced = self._forced
        if not forced.text_tokens:
            return self._binned(self._same()[:1] * len(ROUND_COUNTS))
        full = forced.prompt(APPENDED, forced.flat(None))
        prompts = [forced.prompt(APPENDED, forced.in_rounds(count)) for count in ROUND_COUNTS]
        return self._binned(forced.compare(full, prompts))

    def read_on(self, tokens: int) -> dict[str, ReadOn]:
        """By layout in which text can be checked."""
        return {
            layout: ReadOn(tokens, self._stays(layout, tokens))
            for layout in REBUILT_LAYOUTS
            if layout in self._layouts
        }

    def _stays(self, layout: Layout, tokens: int) -> Matrix:
        """The agreement of each read level with so many ``tokens`` more."""
        forced = self._forced
        if not forced.text_tokens:
            return bin_rows([[1.0]] * len(self._read_levels), self._bin_tokens)
        levels = [more for level in self._read_levels for more in (level, level + tokens)]
        scored = forced.score([forced.prompt(layout, forced.flat(level)) for level in levels])
        # A pair a level: the second of each is taken before the first is compared with it.
        pairs = zip(scored, scored, strict=True)
        rows = [less.against(more).agreement.tolist() for less, more in pairs]
        return bin_rows(rows, self._bin_tokens)

    def _compared(self, full: Prompt, less: Sequence[Prompt]) -> list[TokenFigures]:
        """A row a read level, then full reading beside itself."""
        if not self._forced.text_tokens:
            return self._same()
        return [*self._forced.compare(full, less), *self._same()[-1:]]

    def _same(self) -> list[TokenFigures]:
        """Full reading beside itself, as if that were every row."""
        ones = np.ones(max(self._forced.text_tokens, 1))
        return [TokenFigures(0 * ones, ones, 0 * ones)] * (len(self._read_levels) + 1)

    def _interleaved(self, flat: Sequence[TokenFigures]) -> tuple[list[TokenFigures], Restarts]:
        """The ``flat`` rows and what the order of texts costs beyond them; and interruptions."""
        forced = self._forced
        rounds = [forced.along(constant(*sizes)) for sizes in INTERLEAVE_PROBES]
        full = forced.prompt("interleave", forced.flat(None))
        found = forced.compare(full, [forced.prompt("interleave", some) for some in rounds])
        levels = np.array([forced.levels(some) for some in rounds])
        is_restart = np.zeros(levels.shape, dtype=bool)
        for place, some in enumerate(rounds):
            is_restart[place, [entry.written for entry in some if entry.written]] = True
        longest = max(forced.lengths)
        knots = np.array([*(min(level, longest) for level in self._read_levels), longest])
        columns, costs = [], []
        for name in FIGURES:
            rows = np.array([getattr(row, name) for row in flat])
            probed = np.array([getattr(one, name) for one in found])
            excess = probed - _at(rows, knots, levels)
            order = _by_level(np.where(is_restart, np.nan, excess), levels, knots)
            columns.append(rows + order)
            costs.append(_at_restarts(excess - _at(order, knots, levels), is_restart))
        return [TokenFigures(*row) for row in zip(*columns, strict=True)], Restarts(*costs[:2])

    def _binned(self, rows: Sequence[TokenFigures]) -> QualitySurface:
        return QualitySurface(
            *(
                bin_rows([getattr(row, name).tolist() for row in rows], self._bin_tokens)
                for name in FIGURES
            )
        )


def _at(rows: Floats, knots: Floats, levels: NDArray[np.int64]) -> Floats:
    """``rows`` [knots, positions] at ``levels`` [probes, positions], linear between knots."""
    pairs = zip(rows.T, levels.T, strict=True)
    return np.array([np.interp(level, knots, row) for row, level in pairs]).T


def _by_level(excess: Floats, levels: NDArray[np.int64], knots: Floats) -> Floats:
    """Means of ``excess`` [probes, positions] at each of ``knots``; 0 where all of it is NaN."""
    columns = []
    for level, value in zip(levels.T, excess.T, strict=True):
        seen = np.unique(level[~np.isnan(value)])
        means = [np.nanmean(value[level == one]) for one in seen]
        columns.append(np.interp(knots, seen, means) if len(seen) else np.zeros(len(knots)))
    return np.array(columns).T


def _at_restarts(excess: Floats, is_restart: NDArray[np.bool_]) -> tuple[float | None, ...]:
    """The mean of ``excess`` [probes, positions] over the probes that were interrupted there."""
    pairs = zip(excess.T, is_restart.T, strict=True)
    return tuple(round(float(value[hit].mean()), 4) if hit.any() else None for value, hit in pairs)
