"""One figure of a quality profile over all samples, read off along what an agent had read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiles.quality.profile import QualityProfile, QualitySample, QualitySurface
from profiles.quality.reading import Reading
from staircase.errors import ProfileError

Floats = NDArray[np.float64]
Figure = Literal["loss", "agreement"]


@dataclass(frozen=True)
class FigureSurfaces:
    """One figure of one agent in one layout, over all samples."""

    profile: QualityProfile
    agent: str
    layout: str
    figure: Figure

    def along(self, number: int, reading: Reading) -> Floats:
        """f of each token of sample ``number``, of which all sources are read alike; tokens beyond
        those of the sample are as its last."""
        sample = self.profile.samples[number]
        own = self._matrix(sample)
        bins = np.arange(len(reading.levels)) // self.profile.bin_tokens
        bins = np.minimum(bins, own.shape[1] - 1)
        knots = self._knots(sample)
        shifted = own + self._rows(self._shift, len(knots))[:, : own.shape[1]]
        return np.clip(_read_off(knots, shifted, reading.levels, bins), 0.0, 1.0)

    def longest(self, number: int) -> int:
        """Tokens of the longest source of sample ``number``."""
        return int(self._knots(self.profile.samples[number])[-1])

    def mean_along(self, number: int, reading: Reading) -> tuple[float, float]:
        """Mean of f over the tokens of sample ``number``; also if appended rounds cost nothing."""
        sample = self.profile.samples[number]
        bins = np.arange(len(reading.levels)) // self.profile.bin_tokens
        knots, own = self._knots(sample), self._matrix(sample)
        shifted = own + self._rows(self._shift, len(knots))[:, : own.shape[1]]
        found = _read_off(knots, shifted, reading.levels, bins)
        if reading.missing.any():
            nothing = _read_off(knots, own, 0 * bins, bins)
            more = self._common(self._left_out, reading.levels, bins)
            worst = np.maximum if self.figure == "agreement" else np.minimum
            found = worst(found + reading.missing * more, nothing)
        if self.layout == "interleave" and len(reading.restarts):
            found[reading.restarts] += self._restart_costs[
                np.minimum(reading.restarts, len(self._restart_costs) - 1)
            ]
        flat = float(found.mean())
        if self.layout == "append_rounds" and len(reading.restarts):
            found = self._in_rounds(found, sample, reading.rounds, bins)
        return float(found.mean()), flat

    def _in_rounds(
        self,
        found: Floats,
        sample: QualitySample,
        rounds: NDArray[np.int64],
        bins: NDArray[np.int64],
    ) -> Floats:
        """``found``, with what it costs that texts were read in so many ``rounds``."""
        if self.agent not in sample.rounds or not self.profile.round_counts:
            raise ProfileError(
                f"the quality profile does not say what agent {self.agent!r} loses where rounds "
                "are appended; measure it anew with 'staircase profile SCENARIO --only quality'"
            )
        cost = self._all(sample.rounds[self.agent])
        multiplies = self.figure == "agreement"
        matrix = np.vstack((np.full(cost.shape[1], float(multiplies)), cost))
        knots = np.asarray([1, *self.profile.round_counts], dtype=float)
        by_rounds = _read_off(knots, matrix, rounds, bins)
        return found * by_rounds if multiplies else found + by_rounds

    def _knots(self, sample: QualitySample) -> Floats:
        """Read levels below the longest source's length, and that."""
        full = max(sample.output_tokens[one] for one in self.profile.sources[self.agent])
        return np.asarray([*(v for v in self.profile.read_levels if v < full), full], dtype=float)

    def _matrix(self, sample: QualitySample) -> Floats:
        """[knots, bins]"""
        try:
            surface = sample.surfaces[self.agent][self.layout]
        except KeyError:
            raise ProfileError(
                f"the quality profile was not measured for agent {self.agent!r} "
                f"in layout {self.layout!r}"
            ) from None
        return self._rows(self._all(surface), len(self._knots(sample)))

    def _all(self, surface: QualitySurface) -> Floats:
        return np.asarray(getattr(surface, self.figure))

    def _rows(self, matrix: Floats, knots: int) -> Floats:
        """Those of a sample with so many ``knots``; the last is of all that there is to read."""
        return np.asarray(matrix[[*range(knots - 1), len(matrix) - 1]])

    @cached_property
    def _bins(self) -> int:
        samples = self.profile.samples
        return max(len(self._matrix(sample)[0]) for sample in samples)

    def _on_grid(self, sample: QualitySample, matrix: Floats) -> Floats:
        """[read levels, bins]; NaN behind the sample's last bin."""
        levels, knots = np.asarray(self.profile.read_levels, dtype=float), self._knots(sample)
        columns = [np.interp(levels, knots, column) for column in matrix.T]
        return self._padded(np.column_stack(columns))

    def _padded(self, rows: Floats) -> Floats:
        nothing = np.full((len(rows), self._bins - rows.shape[1]), np.nan)
        return np.hstack((rows, nothing))

    @cached_property
    def _shift(self) -> Floats:
        """[read levels and all, bins]: what makes the mean surface monotone and possible.

        The best monotone fit within bounds is the best monotone fit, cut off at them.
        """
        # Only forecasts of quality need it, and it takes longer to import than a simulation.
        from scipy.optimize import isotonic_regression

        grids = [
            np.vstack((self._on_grid(one, matrix), self._padded(matrix[-1:])))
            for one, matrix in ((one, self._matrix(one)) for one in self.profile.samples)
        ]
        mean, rises = np.nanmean(grids, axis=0), self.figure == "agreement"
        smooth = [isotonic_regression(column, increasing=rises).x for column in mean.T]
        least, most = (-np.inf, 1.0) if rises else (0.0, np.inf)
        return np.asarray(np.clip(np.column_stack(smooth), least, most) - mean)

    @cached_property
    def _left_out(self) -> Floats:
        """[read levels, bins]: the mean of F° − F, which never makes anything better."""
        first = next(iter(self.profile.samples[0].surfaces[self.agent]))
        base = FigureSurfaces(self.profile, self.agent, first, self.figure)
        differences = []
        for sample in self.profile.samples:
            if self.agent in sample.without:
                less = self._rows(self._all(sample.without[self.agent]), len(self._knots(sample)))
                differences.append(self._on_grid(sample, less - base._matrix(sample)))
        if not differences:
            raise ProfileError(
                f"the quality profile does not say what agent {self.agent!r} loses with a source "
                "left out; measure it anew with 'staircase profile SCENARIO --only quality'"
            )
        mean = np.nan_to_num(np.nanmean(differences, axis=0))
        worst = np.minimum if self.figure == "agreement" else np.maximum
        return np.asarray(worst(mean, 0))

    @cached_property
    def _restart_costs(self) -> Floats:
        """By own position: the mean over samples; between and beyond known positions, linear."""
        rows = [
            getattr(sample.restarts[self.agent], self.figure)
            for sample in self.profile.samples
            if self.agent in sample.restarts
        ]
        longest = max((len(row) for row in rows), default=1)
        table = np.full((len(rows) or 1, longest), np.nan)
        for place, row in enumerate(rows):
            table[place, : len(row)] = np.array(row, dtype=float)
        known = np.flatnonzero(~np.isnan(table).all(axis=0))
        if not len(known):
            return np.zeros(longest)
        means = np.nanmean(table[:, known], axis=0)
        return np.interp(np.arange(longest), known, means)

    def _common(self, grid: Floats, levels: NDArray[np.int64], bins: NDArray[np.int64]) -> Floats:
        return _read_off(np.asarray(self.profile.read_levels, dtype=float), grid, levels, bins)


def _read_off(
    knots: Floats, matrix: Floats, levels: NDArray[np.int64], bins: NDArray[np.int64]
) -> Floats:
    """``matrix`` [knots, bins] at each (level, bin), linear between knots, constant beyond."""
    place = np.clip(np.searchsorted(knots, levels, side="right") - 1, 0, len(knots) - 1)
    above = np.minimum(place + 1, len(knots) - 1)
    step = np.maximum(knots[above] - knots[place], 1.0)
    share = np.clip((levels - knots[place]) / step, 0.0, 1.0)
    low, high = matrix[place, bins], matrix[above, bins]
    return np.asarray(low + share * (high - low))
