"""Latency profiles: what an iteration of one (model, device, engine) costs.

With n new tokens, k cached ones, b sequences and c tokens of context in all:

    prefill  s(n, k) = p0 + p1·n + Σ_j p_j·max(0, n − knot_j) + q·n·(k + (n + 1)/2) + r·k
    decode   s(b, c) = d0 + d1·b + d2·c
    both     s(n, k) + m·s(b, c)
    guesses  r(w, b)·s(b, c)      passes of w tokens of each sequence (``wide_passes``)

and of models with experts also Σ_j e_j·min(n, knot_j) or Σ_j e_j·min(b, knot_j): each further token
activates more of them, until all are.

The terms are launch overhead, weights and matrix work, attention (each new token attends to all
before it), and reading what is cached. All coefficients are non-negative, so seconds grow with
every argument and the sum over a run of decode iterations has a closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from profiles.latency.fit import FOLDS, Fit, fit
from profiles.latency.points import (
    ATTENTION,
    DECODE_TERMS,
    EXPERT_KNOTS,
    PREFILL_TERMS,
    DecodePoint,
    MixedPoint,
    PrefillPoint,
    WidePoint,
    decode_features,
    decode_rows,
    prefill_features,
    prefill_rows,
    seconds_of,
)
from profiles.latency.prefix_cache import PrefixCache
from profiles.latency.tuning import Correction, Tuning
from profiles.latency.wide_passes import PassRatio, pass_ratio
from profiles.store import Provenance, hash_of, load, save
from profiles.subject import EngineSubject
from profiles.surface import Floats
from staircase.bounds import LONGEST_RUN_S
from staircase.errors import ProfileError, TooFewPointsError

__all__ = [
    "DecodePoint",
    "EngineProfile",
    "Fit",
    "LatencyProfile",
    "MixedPoint",
    "PrefillPoint",
    "WidePoint",
    "fit_engine",
    "latency_hash",
    "load_latency",
    "save_latency",
]

SCHEMA = "staircase.latency/1"
LEAST_DECODE_POINTS = 3


@dataclass(frozen=True)
class ProfileRange:
    """How far a fit was measured: new tokens of an iteration, sequences, context of a sequence."""

    new_tokens: int
    batch: int
    context_tokens: int


@dataclass(frozen=True)
class EngineProfile:
    """One engine's points and the model fitted to them.

    Attributes:
        call_s: fixed seconds per call, before its prefill begins: network, queue, waking up.
        mixed_points: of engines that prefill and decode in one iteration.
        mixed_decode: m of the formula; None where it was not measured.
        contention: seconds of iterations in turn with another engine on the device, over the same
            alone.
        cache: None where nothing is known of a prefix cache.
        stated_reach: of a fit whose points are not kept, as in the catalogue.
        unmeasured: in words, what there was no time for.
        wide_points: of engines that guess, passes of several tokens of each sequence.
        pass_ratios: r at each of them.
        restates: of a chat server that cannot continue an answer: its text so far is restated.
    """

    prefill_points: tuple[PrefillPoint, ...]
    decode_points: tuple[DecodePoint, ...]
    call_s: float
    prefill: Fit
    decode: Fit
    mixed_points: tuple[MixedPoint, ...] = ()
    mixed_decode: float | None = None
    contention: float = 1.0
    cache: PrefixCache | None = None
    stated_reach: ProfileRange | None = None
    unmeasured: tuple[str, ...] = ()
    restates: bool = False
    wide_points: tuple[WidePoint, ...] = ()
    pass_ratios: tuple[PassRatio, ...] = ()

    @property
    def measured_range(self) -> ProfileRange:
        """How far it was measured.

        Raises:
            ProfileError: it has neither points nor a stated reach.
        """
        if self.stated_reach is not None:
            return self.stated_reach
        if not self.prefill_points or not self.decode_points:
            raise ProfileError("the profile has neither points nor stated_reach")
        return ProfileRange(
            max(point.new_tokens * point.prompts for point in self.prefill_points),
            max(point.batch for point in self.decode_points),
            max(point.context_tokens // point.batch for point in self.decode_points),
        )

    def without_points(self) -> EngineProfile:
        return replace(self, prefill_points=(), decode_points=(), stated_reach=self.measured_range)

    def scaled(self, factor: float) -> EngineProfile:
        """``factor`` times as slow."""
        return replace(self, prefill=self.prefill.scaled(factor), decode=self.decode.scaled(factor))

    def decoding_at(self, pace: float) -> EngineProfile:
        """Tokens take ``pace`` of what they took."""
        return replace(self, decode=self.decode.scaled(pace))

    def corrected(self, correction: Correction) -> EngineProfile:
        return replace(
            self,
            prefill=self.prefill.scaled(correction.prefill),
            decode=self.decode.scaled(correction.decode),
            contention=correction.contention,
            call_s=correction.call_s,
        )

    def prefill_s(self, new_tokens: int, cached_tokens: int) -> float:
        """Expected seconds of an iteration that prefills ``new_tokens`` after ``cached_tokens``."""
        return _seconds(self.prefill, prefill_features(new_tokens, cached_tokens))

    def attention_s(self, new_tokens: int, cached_tokens: int) -> float:
        """The part of it that is about the tokens before each token: the formula's q and r."""
        features = prefill_features(new_tokens, cached_tokens)
        alone = [0.0] * len(features)
        alone[ATTENTION:PREFILL_TERMS] = features[ATTENTION:PREFILL_TERMS]
        return _seconds(self.prefill, alone)

    def decode_s(self, batch: int, context_tokens: int) -> float:
        """Expected seconds of one token for each of ``batch`` sequences."""
        return _seconds(self.decode, decode_features(batch, context_tokens))

    @property
    def widest_pass(self) -> int:
        """Tokens of one sequence in the widest pass that was measured; 1: none was of more."""
        return max((one.width for one in self.pass_ratios), default=1)

    def pass_ratio(self, width: int, batch: int = 1) -> float:
        """What a pass takes that computes ``width`` tokens of each sequence, over one of 1."""
        return pass_ratio(self.pass_ratios, width, batch)

    def outside(self, new_tokens: int, context_tokens: int, batch: int = 1) -> list[str]:
        """What of this lies beyond the measured grid, in words; empty if nothing does."""
        reach = self.measured_range
        measured = {
            "prefill": (new_tokens, reach.new_tokens),
            "context": (context_tokens, reach.context_tokens),
            "batch": (batch, reach.batch),
        }
        return [f"{what} {n:,} > {most:,}" for what, (n, most) in measured.items() if n > most]


def _seconds(form: Fit, features: Sequence[float]) -> float:
    # Dense models have no terms of experts, and older profiles no r.
    known = features[: len(form.coefficients)]
    return float(np.dot(form.coefficients, known)) * form.mean_ratio


@dataclass(frozen=True)
class LatencyProfile:
    """Engine profiles by engine name, and where they come from.

    Attributes:
        tuning: how the measured profile was corrected to this one; None for a measured one.
        of: what was measured, by engine; empty where others measured it, and in older files.
    """

    engines: dict[str, EngineProfile]
    provenance: Provenance = field(compare=False)
    tuning: Tuning | None = None
    of: dict[str, EngineSubject] = field(default_factory=dict)

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


def latency_hash(profile: LatencyProfile) -> str:
    return hash_of(profile, LatencyProfile)


def load_latency(path: Path) -> LatencyProfile:
    profile = load(path, SCHEMA, LatencyProfile, ProfileError)
    for name, engine in profile.engines.items():
        if fault := latency_fault(engine):
            raise ProfileError(f"{path}: engines.{name}.{fault}")
    return profile


def latency_fault(engine: EngineProfile) -> str | None:
    """The first key that is wrong, and what must stand there; None if all are right."""
    more = len(EXPERT_KNOTS)
    for name, form, count in (
        ("prefill", engine.prefill, PREFILL_TERMS),
        ("decode", engine.decode, DECODE_TERMS),
    ):
        counts = [count, count + more]
        if name == "prefill":
            # Those of older profiles have no r.
            counts.append(count - 1)
        if len(form.coefficients) not in counts or not all(map(_is_time, form.coefficients)):
            return f"{name}.coefficients: must be {count} finite numbers, 0 or more"
        if not _is_time(form.mean_ratio):
            return f"{name}.mean_ratio: is {form.mean_ratio}, must be finite and 0 or more"
    for name in ("call_s", "contention", "mixed_decode"):
        value = getattr(engine, name)
        if value is not None and not _is_time(value):
            return f"{name}: is {value}, must be from 0 to {LONGEST_RUN_S:g}"
    batches = [point.batch for point in engine.decode_points]
    batches += [point.batch for point in engine.mixed_points]
    batches += [one.batch for one in engine.pass_ratios]
    if any(batch < 1 for batch in batches):
        return "decode_points: batch must be 1 or more"
    for one in engine.pass_ratios:
        if one.width < 2 or not _is_time(one.ratio):
            return "pass_ratios: width must be 2 or more, ratio finite and 0 or more"
    return None


def _is_time(seconds: float) -> bool:
    # So written, the comparison fails for NaN as well.
    return 0 <= seconds <= LONGEST_RUN_S


def fit_engine(
    prefill_points: Sequence[PrefillPoint],
    decode_points: Sequence[DecodePoint],
    call_s: float,
    mixed_points: Sequence[MixedPoint] = (),
    wide_points: Sequence[WidePoint] = (),
    *,
    has_experts: bool = False,
) -> EngineProfile:
    """Fits the formula to measured points, with the terms of experts if there are such.

    Raises:
        TooFewPointsError: too few to fit and cross-validate.
    """
    if len(prefill_points) < FOLDS or len(decode_points) < LEAST_DECODE_POINTS:
        raise TooFewPointsError(
            f"{len(prefill_points)} prefill and {len(decode_points)} decode points "
            f"are too few for a fit; measure at least {FOLDS} and {LEAST_DECODE_POINTS}"
        )
    prefill = fit_points(prefill_rows(prefill_points, has_experts), prefill_points)
    decode = fit_points(decode_rows(decode_points, has_experts), decode_points)
    return EngineProfile(
        tuple(prefill_points),
        tuple(decode_points),
        call_s,
        prefill,
        decode,
        tuple(mixed_points),
        _mixed_decode(mixed_points, prefill, decode),
        wide_points=tuple(wide_points),
        pass_ratios=tuple(_pass_ratio(point, decode) for point in wide_points),
    )


def fit_points(rows: Floats, points: Sequence[PrefillPoint] | Sequence[DecodePoint]) -> Fit:
    seconds = seconds_of(points)
    return fit(rows, seconds, seconds * np.asarray([point.mean_ratio for point in points]))


def _mixed_decode(points: Sequence[MixedPoint], prefill: Fit, decode: Fit) -> float | None:
    """Of an iteration, the prefill taken off, over a decode alone: the median over points."""
    if not points:
        return None
    ratios = [
        (point.seconds - _median_s(prefill, prefill_features(point.new_tokens, 0)))
        / _median_s(decode, decode_features(point.batch, point.context_tokens))
        for point in points
    ]
    return max(0.0, float(np.median(ratios)))


def _pass_ratio(point: WidePoint, decode: Fit) -> PassRatio:
    """Of means, as sums of many passes are of these."""
    one_s = _seconds(decode, decode_features(point.batch, point.context_tokens))
    ratio = point.seconds * point.mean_ratio / one_s
    return PassRatio(point.width, point.batch, ratio, point.spread)


def _median_s(form: Fit, features: Sequence[float]) -> float:
    return _seconds(replace(form, mean_ratio=1.0), features)
