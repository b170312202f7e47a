"""Quality profiles: what reading less costs, as measured by teacher forcing.

For a sampled request let y be the agent's text when it has read everything. At own position t and
read level v (each source shown up to v tokens)

    D(v, t) = KL( p(· | all, y_<t) ‖ p(· | v tokens of each source, y_<t) )     in nats
    A(v, t) = 1 if both distributions have the same most probable token, else 0

A schedule reads v(t) before position t. Its forecast loss is the mean of D(v(t), t) over t and over
the sampled requests, its forecast agreement the mean of A(v(t), t). Between measured read levels
both are interpolated. A staircase that reads all before it writes has loss 0 by definition; one
that comes to read all later has not in the interleaved layout, where the order of texts differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiles.score_fit import ScoreFit, forecast_score
from profiles.store import Provenance, load, save
from staircase.errors import ProfileError
from staircase.metrics import Summary, summarize
from staircase.timeline import Timeline

SCHEMA = "staircase.quality/1"

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Surface:
    """One agent's D and A for one request and layout.

    Rows are the read levels and, last, everything read; columns are bins of own positions.
    """

    loss: Matrix
    agreement: Matrix


@dataclass(frozen=True)
class QualitySample:
    """One request that was played in full.

    Attributes:
        fixed_tokens: length of each prompt text that does not grow.
        output_tokens: tokens that each agent wrote.
        surfaces: by agent and layout.
        score: the task's score of the answer, if the task has one.
    """

    fixed_tokens: dict[str, int]
    output_tokens: dict[str, int]
    surfaces: dict[str, dict[str, Surface]]
    score: float | None = None


@dataclass(frozen=True)
class QualityProfile:
    """Samples over a grid of read levels and own positions.

    Attributes:
        read_levels: tokens of each source shown, increasing.
        bin_tokens: own positions are averaged over bins of so many tokens.
        sources: of each reading agent, in prompt order.
        score_fit: ties the task's score to the loss, where there is a score.
    """

    read_levels: tuple[int, ...]
    bin_tokens: int
    sources: dict[str, tuple[str, ...]]
    samples: tuple[QualitySample, ...]
    provenance: Provenance = field(compare=False)
    score_fit: ScoreFit | None = None


@dataclass(frozen=True)
class QualityForecast:
    """Loss in nats a token, and agreement with full reading (1 is full), each with its interval.

    Attributes:
        score: of the task; None where the profile has no fit of it.
    """

    loss: Summary
    agreement: Summary
    score: Summary | None = None


def save_quality(path: Path, profile: QualityProfile) -> str:
    return save(path, SCHEMA, profile, QualityProfile)


def load_quality(path: Path) -> QualityProfile:
    return load(path, SCHEMA, QualityProfile, ProfileError)


def forecast_quality(
    profile: QualityProfile, timelines: Sequence[Timeline], layout: str
) -> QualityForecast:
    """Quality of the schedule that ``timelines`` played, one of them per profile sample in turn.

    With several reading agents, losses add up and agreements multiply: an assumption that treats
    their errors as independent.
    """
    count = len(profile.samples)
    pairs = [(profile.samples[line.request % count], line) for line in timelines]
    scored = [_along_all(profile, sample, line, layout) for sample, line in pairs]
    loss, agreement = (summarize(column) for column in zip(*scored, strict=True))
    score = forecast_score(profile.score_fit, loss, layout) if profile.score_fit else None
    return QualityForecast(loss, agreement, score)


def _along_all(
    profile: QualityProfile, sample: QualitySample, timeline: Timeline, layout: str
) -> tuple[float, float]:
    loss, agreement = 0.0, 1.0
    for agent in profile.sources:
        levels = read_along(timeline, agent, sample.output_tokens[agent])
        one, other = _along(profile, sample, agent, levels, layout)
        loss, agreement = loss + one, agreement * other
    return loss, agreement


def read_along(timeline: Timeline, agent: str, tokens: int) -> NDArray[np.int64]:
    """v(t): the most that ``agent`` was shown of any source when it wrote token t."""
    spans = sorted((s for s in timeline.spans if s.agent == agent), key=lambda span: span.written)
    levels = np.zeros(tokens, dtype=np.int64)
    for span in spans:
        levels[span.written :] = max(span.read, default=0)
    return levels


def _along(
    profile: QualityProfile,
    sample: QualitySample,
    agent: str,
    levels: NDArray[np.int64],
    layout: str,
) -> tuple[float, float]:
    """Mean of D and A at (levels[t], t)."""
    surface = _surface(sample, agent, layout)
    full = max(sample.output_tokens[source] for source in profile.sources[agent])
    if not len(levels) or levels[0] >= full:
        return 0.0, 1.0
    columns = np.arange(len(levels)) // profile.bin_tokens
    loss = _interpolate(profile.read_levels, full, surface.loss, levels, columns)
    agreement = _interpolate(profile.read_levels, full, surface.agreement, levels, columns)
    return float(loss.mean()), float(agreement.mean())


def _surface(sample: QualitySample, agent: str, layout: str) -> Surface:
    try:
        return sample.surfaces[agent][layout]
    except KeyError:
        raise ProfileError(
            f"the quality profile was not measured for agent {agent!r} in layout {layout!r}"
        ) from None


def _interpolate(
    grid: Sequence[int],
    full: int,
    matrix: Matrix,
    levels: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Linear in the read level between measured ones, the last row from level ``full`` on."""
    rows = [number for number, level in enumerate(grid) if level < full]
    knots = np.asarray([*(grid[number] for number in rows), full], dtype=float)
    values = np.asarray(matrix)[[*rows, len(grid)]]
    place = np.clip(np.searchsorted(knots, levels, side="right") - 1, 0, len(knots) - 1)
    above = np.minimum(place + 1, len(knots) - 1)
    step = np.maximum(knots[above] - knots[place], 1.0)
    share = np.clip((levels - knots[place]) / step, 0.0, 1.0)
    low, high = values[place, columns], values[above, columns]
    return np.asarray(low + share * (high - low))


def bin_rows(rows: Sequence[Sequence[float]], bin_tokens: int) -> Matrix:
    """Averages every row over bins of ``bin_tokens`` positions."""
    return tuple(
        tuple(
            round(float(np.mean(row[start : start + bin_tokens])), 4)
            for start in range(0, len(row), bin_tokens)
        )
        for row in rows
    )
