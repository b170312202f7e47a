"""Endpoint profiles: TTFT and ITL of a server or an API, as load tests of others saw them.

    TTFT  (ttft_s + ttft_per_token_s · prompt tokens) · X     ITL  itl_s · Y

with X and Y lognormal around a mean of 1, drawn once a call. ITL is the time from a call's first
token to its last over the tokens between, so it is right for the whole answer however many tokens
the server sends in a piece. TTFT is what callers saw under the test's load, queueing included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from profiles.store import Provenance, load, save
from profiles.surface import Floats, solve_relative
from staircase.errors import ProfileError

SCHEMA = "staircase.endpoint/1"
FEWEST = 2
# Endpoints of the simulator take some time to their first token, be it next to none.
LEAST_S = 1e-6


@dataclass(frozen=True)
class EndpointProfile:
    """What a call takes.

    Attributes:
        spread, itl_spread: standard deviation of the logarithm of TTFT and of ITL, by call.
        requests: that were seen; None if the file does not say.
    """

    ttft_s: float
    itl_s: float
    ttft_per_token_s: float
    spread: float
    itl_spread: float
    requests: int | None
    provenance: Provenance = field(compare=False)


@dataclass(frozen=True)
class SeenCall:
    """One call; ``itl_s`` is the mean over its ``output_tokens``, NaN if it wrote only one."""

    prompt_tokens: float
    output_tokens: float
    ttft_s: float
    itl_s: float


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation over calls, in seconds."""

    mean: float
    deviation: float

    @property
    def log_deviation(self) -> float:
        """Of the lognormal that has these."""
        return math.sqrt(math.log1p((self.deviation / self.mean) ** 2)) if self.mean else 0.0


def endpoint_of_calls(calls: Sequence[SeenCall], provenance: Provenance) -> EndpointProfile:
    """Means, spreads, and how TTFT grows with the prompt.

    Raises:
        ProfileError: fewer than two calls that wrote more than one token.
    """
    long = [call for call in calls if call.output_tokens > 1]
    if len(long) < FEWEST:
        raise ProfileError(
            f"{len(long)} calls with an answer of two tokens or more; it takes {FEWEST}"
        )
    ttft_s, per_token_s, spread = _ttft(calls)
    gaps = np.array([call.output_tokens - 1 for call in long])
    itl_s = np.array([call.itl_s for call in long])
    return EndpointProfile(
        ttft_s,
        float(np.average(itl_s, weights=gaps)),
        per_token_s,
        spread,
        _log_deviation(itl_s),
        len(calls),
        provenance,
    )


def endpoint_of_moments(
    ttft: Moments, itl: Moments, requests: int | None, provenance: Provenance
) -> EndpointProfile:
    """Where only means and standard deviations are known: TTFT does not grow with the prompt."""
    return EndpointProfile(
        ttft.mean,
        itl.mean,
        0.0,
        ttft.log_deviation,
        itl.log_deviation,
        requests,
        provenance,
    )


def _ttft(calls: Sequence[SeenCall]) -> tuple[float, float, float]:
    """Fixed and per prompt token, with the mean that was seen; and the spread around that."""
    seen = np.array([max(LEAST_S, call.ttft_s) for call in calls])
    prompts = np.array([call.prompt_tokens for call in calls], dtype=float)
    features = np.stack([np.ones_like(prompts), prompts], axis=1)
    if np.ptp(prompts) == 0:
        features = features[:, :1]
    found = solve_relative(features, seen)
    fitted = features @ found
    found = found * seen.mean() / fitted.mean()
    per_token_s = float(found[1]) if len(found) > 1 else 0.0
    return max(LEAST_S, float(found[0])), per_token_s, _log_deviation(seen / fitted)


def _log_deviation(values: Floats) -> float:
    return float(np.std(np.log(np.maximum(values, LEAST_S))))


def save_endpoint(path: Path, profile: EndpointProfile) -> str:
    return save(path, SCHEMA, profile, EndpointProfile)


def load_endpoint(path: Path) -> EndpointProfile:
    return load(path, SCHEMA, EndpointProfile, ProfileError)
