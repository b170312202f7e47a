"""Samples of one engine, and the profile that they make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import chain

import numpy as np

from executor.measure.grid_points import (
    DECODE_RUN,
    Decode,
    GridPoint,
    Mixed,
    Prefill,
)
from executor.measure.measurements import Sample
from profiles.latency.fit import Fit, leave_out_errors
from profiles.latency.points import (
    DecodePoint,
    MixedPoint,
    PrefillPoint,
    WidePoint,
    decode_rows,
    prefill_rows,
    seconds_of,
)
from profiles.latency.profile import EngineProfile, fit_engine
from profiles.surface import Floats

# Parts of the measuring time that are compared, and samples that each needs.
QUARTERS = 4
LEAST_IN_A_QUARTER = 3


@dataclass
class Samples:
    """Samples in the order in which they were taken; those without seconds only count as tried.

    Attributes:
        is_remote: what a call costs before its prefill is not known apart, and is taken to be what
            the shortest prefill takes beyond a decode.
    """

    is_remote: bool = False
    taken: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        self.taken.append(sample)

    @property
    def took_s(self) -> float:
        return sum(sample.took_s for sample in self.taken)

    def by_place(self) -> dict[GridPoint, list[Sample]]:
        found: dict[GridPoint, list[Sample]] = defaultdict(list)
        for sample in self.taken:
            if sample.seconds:
                found[sample.place].append(sample)
        return dict(sorted(found.items(), key=lambda item: _order(item[0])))

    def tries(self, place: GridPoint) -> int:
        return sum(sample.place == place for sample in self.taken)

    def profile(self) -> EngineProfile:
        """Raises ProfileError if too few places were visited."""
        places = self.by_place()
        prefill, decode, mixed, wide = _points(places)
        call_s = float(np.median([sample.wait_s for sample in self.taken])) if self.taken else 0.0
        if self.is_remote and prefill and decode:
            call_s = max(0.0, min(p.seconds for p in prefill) - min(d.seconds for d in decode))
            prefill = [replace(p, seconds=p.seconds - call_s) for p in prefill]
        return fit_engine(prefill, decode, call_s, mixed, wide)

    def stated_profile(self) -> EngineProfile:
        """The same with the drift of the machine while it was measured."""
        profile = self.profile()
        return replace(
            profile,
            prefill=self._with_drift(profile, profile.prefill, Prefill),
            decode=self._with_drift(profile, profile.decode, Decode),
        )

    def _with_drift(self, profile: EngineProfile, fit: Fit, kind: type[Prefill | Decode]) -> Fit:
        """From the fastest to the slowest quarter of the samples, in the order of time."""
        own = [sample for sample in self.taken if sample.seconds and isinstance(sample.place, kind)]
        count = min(QUARTERS, len(own) // LEAST_IN_A_QUARTER)
        if count < 2:
            return fit
        parts = [own[len(own) * n // count : len(own) * (n + 1) // count] for n in range(count)]
        levels = [self._level(profile, part) for part in parts]
        return replace(fit, drift=max(levels) / min(levels) - 1)

    def _level(self, profile: EngineProfile, samples: Sequence[Sample]) -> float:
        """Seconds taken over seconds expected."""
        before_s = profile.call_s if self.is_remote else 0.0
        taken = sum(float(np.mean(sample.seconds)) for sample in samples)
        return taken / sum(expected_s(profile, sample.place, before_s) for sample in samples)


def expected_s(profile: EngineProfile, place: GridPoint, before_s: float = 0.0) -> float:
    """What ``profile`` says of ``place``; ``before_s`` goes before a prefill."""
    if isinstance(place, Prefill):
        return before_s + profile.prefill_s(place.new_tokens, place.cached_tokens)
    assert isinstance(place, Decode)
    return profile.decode_s(place.batch, place.all_context_tokens)


def errors(profile: EngineProfile) -> dict[GridPoint, float]:
    """By place, the relative error of a fit that did not see it."""
    return {
        **_errors(
            [Prefill(p.new_tokens, p.cached_tokens) for p in profile.prefill_points],
            prefill_rows(profile.prefill_points),
            seconds_of(profile.prefill_points),
        ),
        **_errors(
            [decode_place(p) for p in profile.decode_points],
            decode_rows(profile.decode_points),
            seconds_of(profile.decode_points),
        ),
    }


def decode_place(point: DecodePoint) -> Decode:
    return Decode(point.batch, point.context_tokens // point.batch - DECODE_RUN // 2)


def _errors(places: Sequence[GridPoint], rows: Floats, seconds: Floats) -> dict[GridPoint, float]:
    return dict(zip(places, np.abs(leave_out_errors(rows, seconds)).tolist(), strict=True))


def noise(samples: Sequence[Sample]) -> float:
    """Relative standard error of the median over visits, from their median deviation."""
    visits = np.asarray([np.median(sample.seconds) for sample in samples])
    deviation = np.median(np.abs(visits - np.median(visits)))
    # 1.48: of a normal to its deviation; 1.25: of the median to the mean.
    return float(1.48 * 1.25 * deviation / np.median(visits) / np.sqrt(len(visits)))


def _points(
    places: dict[GridPoint, list[Sample]],
) -> tuple[list[PrefillPoint], list[DecodePoint], list[MixedPoint], list[WidePoint]]:
    prefill, decode, mixed, wide = [], [], [], []
    for place, samples in places.items():
        figures = robust(chain.from_iterable(sample.seconds for sample in samples))
        if isinstance(place, Prefill):
            prefill.append(PrefillPoint(place.new_tokens, place.cached_tokens, *figures))
        elif isinstance(place, Decode):
            decode.append(DecodePoint(place.batch, place.all_context_tokens, *figures))
        elif isinstance(place, Mixed):
            sizes = place.new_tokens, place.batch, place.all_context_tokens
            mixed.append(MixedPoint(*sizes, *figures))
        else:
            sizes = place.width, place.batch, place.all_context_tokens
            wide.append(WidePoint(*sizes, *figures))
    return prefill, decode, mixed, wide


def robust(samples: Iterable[float]) -> tuple[float, float, float]:
    """Median; median absolute deviation and mean, both relative to it."""
    seconds = np.fromiter(samples, dtype=float)
    middle = float(np.median(seconds))
    deviation = float(np.median(np.abs(seconds - middle)))
    return middle, deviation / middle, float(np.mean(seconds)) / middle


def _order(place: GridPoint) -> tuple[str, tuple[int, ...]]:
    return type(place).__name__, astuple(place)
