"""How much of a text stands when it is checked, from how far readings of a text agree.

    A(v, t)     the share of tokens at own position t that are the same if v tokens of each source
                are read as if all are (a quality profile's agreement)
    B(v, n, t)  the same of v and v + n tokens, over all samples in which n was measured
    p(t)        with what probability a token stands that was written on v tokens and is checked on
                w, if all before it do: A(v, t) where w is everything, else the less of
                B(v, w − v, t) and 1 − max(0, A(w, t) − A(v, t))

Readings that differ by a token disagree more often than their agreements with full reading differ:
what is gained in one place is lost in another. Between the n that were measured B is linear in
ln n, and beyond them constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from profiles.quality.profile import QualityProfile
from profiles.quality.reading import Reading
from profiles.quality.surfaces import FigureSurfaces, Floats
from staircase.errors import ProfileError
from staircase.revisions.acceptance import CheckedText, drawn
from staircase.workload import Workload


class Agreements:
    """Of one profile; what all samples have in common is worked out once."""

    def __init__(self, profile: QualityProfile) -> None:
        self.profile = profile
        self._surfaces: dict[tuple[str, str], FigureSurfaces] = {}
        self._stays: dict[tuple[str, str], Stays] = {}

    def of(self, agent: str, layout: str) -> FigureSurfaces:
        key = (agent, layout)
        if key not in self._surfaces:
            self._surfaces[key] = FigureSurfaces(self.profile, *key, "agreement")
        return self._surfaces[key]

    def stays(self, agent: str, layout: str) -> Stays:
        key = (agent, layout)
        if key not in self._stays:
            self._stays[key] = Stays(self.profile, *key)
        return self._stays[key]


@dataclass(frozen=True)
class Stays:
    """B of one agent and layout."""

    profile: QualityProfile
    agent: str
    layout: str

    def along(self, level: int, more: int, positions: range) -> Floats:
        """B of tokens at ``positions`` when ``more`` than ``level`` tokens are read."""
        bins = np.asarray(positions) // self.profile.bin_tokens
        rows = [self._at(matrix, level, bins) for matrix in self._by_tokens.values()]
        measured = np.log([*self._by_tokens])
        columns = np.array(rows).T
        return np.array([np.interp(np.log(more), measured, column) for column in columns])

    def _at(self, matrix: Floats, level: int, bins: Floats) -> Floats:
        columns = matrix[:, np.minimum(bins, matrix.shape[1] - 1)]
        return np.array([np.interp(level, self.profile.read_levels, one) for one in columns.T])

    @cached_property
    def _by_tokens(self) -> dict[int, Floats]:
        """[read levels, bins] by n, rising."""
        found: dict[int, list[Floats]] = {}
        for tokens, matrix in self._measured():
            found.setdefault(tokens, []).append(matrix)
        if not found:
            raise ProfileError(
                f"the quality profile does not say how often agent {self.agent!r} would write "
                f"another token after reading a little more, in layout {self.layout!r}; measure it "
                "anew with 'staircase profile SCENARIO --only quality', with plan.checked in the "
                "scenario"
            )
        return {tokens: _mean(found[tokens]) for tokens in sorted(found)}

    def _measured(self) -> Iterator[tuple[int, Floats]]:
        for sample in self.profile.samples:
            one = sample.read_on.get(self.agent, {}).get(self.layout)
            if one is not None:
                yield one.tokens, np.asarray(one.agreement)


def _mean(matrices: list[Floats]) -> Floats:
    """Of matrices with more or fewer bins, over those that have the bin."""
    bins = max(matrix.shape[1] for matrix in matrices)
    padded = [
        np.pad(matrix, ((0, 0), (0, bins - matrix.shape[1])), constant_values=np.nan)
        for matrix in matrices
    ]
    return np.asarray(np.nanmean(padded, axis=0))


@dataclass(frozen=True)
class ProfiledAcceptance:
    """Of one request, which is sample ``number`` of the profile."""

    agreements: Agreements = field(repr=False)
    number: int
    seed: int

    def kept_tokens(self, checked: CheckedText) -> int:
        """Raises ProfileError if the profile does not say."""
        stands = np.cumprod(self._chances(checked))
        return int(np.count_nonzero(stands >= drawn(self.seed, checked)))

    def _chances(self, checked: CheckedText) -> Floats:
        """p of each checked token."""
        before, now = (max(read, default=0) for read in (checked.before, checked.read))
        surfaces = self.agreements.of(checked.agent, checked.layout)
        was, will = (self._agreement(surfaces, checked, level) for level in (before, now))
        chances = 1 - np.maximum(will - was, 0.0)
        if not before < now < surfaces.longest(self.number):
            return np.asarray(chances)
        positions = range(checked.settled, checked.settled + checked.tokens)
        stays = self.agreements.stays(checked.agent, checked.layout)
        stay = stays.along(before, now - before, positions)
        return np.asarray(np.minimum(chances, stay))

    def _agreement(self, surfaces: FigureSurfaces, checked: CheckedText, level: int) -> Floats:
        """By checked token."""
        stop = checked.settled + checked.tokens
        levels = np.full(stop, level)
        along = Reading(levels, np.zeros(stop), np.array([], dtype=np.int64))
        return surfaces.along(self.number, along)[checked.settled :]


def with_acceptance(workload: Workload, agreements: Agreements) -> Workload:
    """``workload``, whose requests are the profile's samples in turn, each with what stands."""
    samples = len(agreements.profile.samples)
    requests = [
        replace(one, acceptance=ProfiledAcceptance(agreements, number % samples, number))
        for number, one in enumerate(workload.requests)
    ]
    return replace(workload, requests=requests)
