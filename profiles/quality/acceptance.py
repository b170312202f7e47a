"""How much of a text stands when it is checked, from how far texts agree with full reading.

    A(v, t)   the share of tokens at own position t that are the same if v tokens of each source
              are read as if all are (a quality profile's agreement)
    p(t)      1 − max(0, A(v', t) − A(v, t)): with what probability a token stands that was written
              on v tokens and is checked on v', if all before it do; A(v, t) where v' is all

That what disagrees with v' too is what disagrees with v is an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from profiles.quality.profile import QualityProfile
from profiles.quality.reading import Reading
from profiles.quality.surfaces import FigureSurfaces, Floats
from staircase.revisions.acceptance import CheckedText, drawn
from staircase.workload import Workload


class Agreements:
    """Of one profile; what all samples have in common is worked out once."""

    def __init__(self, profile: QualityProfile) -> None:
        self.profile = profile
        self._surfaces: dict[tuple[str, str], FigureSurfaces] = {}

    def of(self, agent: str, layout: str) -> FigureSurfaces:
        key = (agent, layout)
        if key not in self._surfaces:
            self._surfaces[key] = FigureSurfaces(self.profile, *key, "agreement")
        return self._surfaces[key]


@dataclass(frozen=True)
class ProfiledAcceptance:
    """Of one request, which is sample ``number`` of the profile."""

    agreements: Agreements = field(repr=False)
    number: int
    seed: int

    def kept_tokens(self, checked: CheckedText) -> int:
        surfaces = self.agreements.of(checked.agent, checked.layout)
        was, now = (
            self._agreement(surfaces, checked, max(read, default=0))
            for read in (checked.before, checked.read)
        )
        stands = np.cumprod(1 - np.maximum(now - was, 0.0))
        return int(np.count_nonzero(stands >= drawn(self.seed, checked)))

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
