"""Latency profiles: what an iteration of one (model, device, engine) costs.

With n new tokens, k cached ones, b sequences and c tokens of context in all:

    prefill  s(n, k) = p0 + p1·n + Σ_j p_j·max(0, n − knot_j) + q·n·(k + (n + 1)/2)
    decode   s(b, c) = d0 + d1·b + d2·c

The terms are launch overhead, weights and matrix work, and attention (each new token attends to all
before it). All coefficients are non-negative, so seconds grow with every argument and the sum over
a run of decode iterations has a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.store import Provenance, load, save
from profiles.surface import solve_relative
from staircase.errors import ProfileError

SCHEMA = "staircase.latency/1"
PREFILL_KNOTS = (16, 64, 256, 1024)
FOLDS = 5


@dataclass(frozen=True)
class PrefillPoint:
    """An iteration that prefills.

    Attributes:
        seconds: median over repetitions.
        spread: median deviation, relative to the median.
        mean_ratio: mean over median.
        prompts: as many of these at once.
    """

    new_tokens: int
    cached_tokens: int
    seconds: float
    spread: float
    mean_ratio: float
    prompts: int = 1


@dataclass(frozen=True)
class DecodePoint:
    """The same for an iteration that decodes ``batch`` sequences with this context in all."""

    batch: int
    context_tokens: int
    seconds: float
    spread: float
    mean_ratio: float


@dataclass(frozen=True)
class Fit:
    """A fitted formula.

    Attributes:
        coefficients: in the order of the formula, for the median seconds of an iteration.
        error: cross-validated median relative error.
        mean_ratio: mean over median of repeated measurements. On a shared machine some iterations
            are much slower, and a sum of many is that much longer than the sum of their medians.
    """

    coefficients: tuple[float, ...]
    error: float
    mean_ratio: float = 1.0

    def scaled(self, factor: float) -> Fit:
        return replace(self, mean_ratio=factor * self.mean_ratio)


@dataclass(frozen=True)
class Reach:
    """How far a fit was measured: new tokens of an iteration, sequences, context of a sequence."""

    new_tokens: int
    batch: int
    context_tokens: int


@dataclass(frozen=True)
class EngineProfile:
    """One engine's points and the model fitted to them.

    Attributes:
        call_s: fixed seconds per call, from submission to the start of its prefill.
        stated_reach: of a fit whose points are not kept, as in the catalogue.
    """

    prefill_points: tuple[PrefillPoint, ...]
    decode_points: tuple[DecodePoint, ...]
    call_s: float
    prefill: Fit
    decode: Fit
    stated_reach: Reach | None = None

    @property
    def reach(self) -> Reach:
        """How far it was measured.

        Raises:
            ProfileError: it has neither points nor a stated reach.
        """
        if self.stated_reach is not None:
            return self.stated_reach
        if not self.prefill_points or not self.decode_points:
            raise ProfileError("the profile has neither points nor stated_reach")
        return Reach(
            max(point.new_tokens * point.prompts for point in self.prefill_points),
            max(point.batch for point in self.decode_points),
            max(point.context_tokens // point.batch for point in self.decode_points),
        )

    def without_points(self) -> EngineProfile:
        return replace(self, prefill_points=(), decode_points=(), stated_reach=self.reach)

    def scaled(self, factor: float) -> EngineProfile:
        """``factor`` times as slow."""
        return replace(self, prefill=self.prefill.scaled(factor), decode=self.decode.scaled(factor))

    def prefill_s(self, new_tokens: int, cached_tokens: int) -> float:
        """Expected seconds of an iteration that prefills ``new_tokens`` after ``cached_tokens``."""
        features = _prefill_features(new_tokens, cached_tokens)
        return float(np.dot(self.prefill.coefficients, features)) * self.prefill.mean_ratio

    def decode_s(self, batch: int, context_tokens: int) -> float:
        """Expected seconds of one token for each of ``batch`` sequences."""
        base, per_sequence, per_token = self.decode.coefficients
        typical = base + per_sequence * batch + per_token * context_tokens
        return typical * self.decode.mean_ratio

    def outside(self, new_tokens: int, context_tokens: int) -> list[str]:
        """What of this lies beyond the measured grid, in words; empty if nothing does."""
        new, context = self.reach.new_tokens, self.reach.context_tokens
        said = []
        if new_tokens > new:
            said.append(f"prefill {new_tokens:,} > {new:,}")
        if context_tokens > context:
            said.append(f"context {context_tokens:,} > {context:,}")
        return said


@dataclass(frozen=True)
class LatencyProfile:
    """Engine profiles by engine name, and where they come from."""

    engines: dict[str, EngineProfile]
    provenance: Provenance = field(compare=False)

    def __getitem__(self, engine: str) -> EngineProfile:
        try:
            return self.engines[engine]
        except KeyError:
            known = ", ".join(self.engines)
            raise ProfileError(
                f"the latency profile knows no engine {engine!r}; it has {known}"
            ) from None


def save_latency(path: Path, profile: LatencyProfile) -> str:
    return save(path, SCHEMA, profile, LatencyProfile)


def load_latency(path: Path) -> LatencyProfile:
    return load(path, SCHEMA, LatencyProfile, ProfileError)


def fit_engine(
    prefill_points: Sequence[PrefillPoint], decode_points: Sequence[DecodePoint], call_s: float
) -> EngineProfile:
    """Fits the formula to measured points.

    Raises:
        ProfileError: too few points to fit and cross-validate.
    """
    if len(prefill_points) < FOLDS or len(decode_points) < 3:
        raise ProfileError(
            f"{len(prefill_points)} prefill and {len(decode_points)} decode points "
            f"are too few for a fit; measure at least {FOLDS} and 3"
        )
    prefill = [_prefill_features(p.new_tokens, p.cached_tokens, p.prompts) for p in prefill_points]
    decode = [(1.0, p.batch, p.context_tokens) for p in decode_points]
    return EngineProfile(
        tuple(prefill_points),
        tuple(decode_points),
        call_s,
        _fit(prefill, prefill_points),
        _fit(decode, decode_points),
    )


def _prefill_features(new: int, cached: int, prompts: int = 1) -> list[float]:
    tokens = new * prompts
    bends = [max(0.0, tokens - knot) for knot in PREFILL_KNOTS]
    return [1.0, tokens, *bends, tokens * (cached + (new + 1) / 2)]


def _fit(
    rows: Sequence[Sequence[float]], points: Sequence[PrefillPoint] | Sequence[DecodePoint]
) -> Fit:
    """Non-negative least squares of the relative error, with its leave-out error."""
    features, seconds = np.asarray(rows), np.asarray([point.seconds for point in points])
    means = seconds * np.asarray([point.mean_ratio for point in points])
    return Fit(
        tuple(solve_relative(features, seconds).tolist()),
        _leave_out_error(features, seconds),
        float(means.sum() / seconds.sum()),
    )


def _leave_out_error(features: NDArray[np.float64], seconds: NDArray[np.float64]) -> float:
    """Median relative error of points predicted from a fit that did not see them."""
    fold = np.arange(len(seconds)) % min(FOLDS, len(seconds))
    errors = np.empty_like(seconds)
    for number in np.unique(fold):
        kept = fold != number
        predicted = features[~kept] @ solve_relative(features[kept], seconds[kept])
        errors[~kept] = np.abs(predicted / seconds[~kept] - 1)
    return float(np.median(errors))
