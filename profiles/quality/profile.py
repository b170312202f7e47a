"""Quality profiles: what reading less costs, as measured by teacher forcing.

For a sampled request let y be the agent's text when it has read everything. At own position t and
read level v (each source shown up to v tokens)

    D(v, t) = KL( p(· | all, y_<t) ‖ p(· | v tokens of each source, y_<t) )     in nats
    A(v, t) = 1 if both distributions have the same most probable token, else 0
    G(v, t) = ln p(y_t | all, y_<t) − ln p(y_t | v tokens of each source, y_<t)     in nats

D°, A° and G° are the same with one source left out altogether, as when a quorum does not wait for
it; Dⁿ, Aⁿ and Gⁿ with everything read, but in n rounds, one appended after the other. What a
schedule costs is forecast from these surfaces (``profiles.quality.forecast``). For text that is
checked

    B(v, n, t) = 1 if v and v + n tokens of each source have the same most probable token, else 0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from profiles.guessed_passes import Pass
from profiles.quality.calibration import PlayedSchedule
from profiles.quality.held import HeldText
from profiles.store import Provenance, load, save
from profiles.subject import PipelineSubject
from staircase.errors import ProfileError
from staircase.revisions.updates import Update
from staircase.schedule import LAYOUTS

SCHEMA = "staircase.quality/3"

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class QualitySurface:
    """One agent's D, A and G for one request and layout.

    Rows are the read levels and, last, everything read; columns are bins of own positions.
    """

    loss: Matrix
    agreement: Matrix
    nll_gap: Matrix


@dataclass(frozen=True)
class Restarts:
    """What it costs one token more if the text was interrupted right before it by new reading.

    By own position, beyond what was read then costs; None where nothing was interrupted.
    """

    loss: tuple[float | None, ...]
    agreement: tuple[float | None, ...]


@dataclass(frozen=True)
class ReadOn:
    """B of one agent, request and layout: what reading a little more leaves as it is.

    Attributes:
        tokens: n, read more of each source.
        agreement: rows are the read levels v; columns are bins of own positions.
    """

    tokens: int
    agreement: Matrix


@dataclass(frozen=True)
class QualitySample:
    """One request that was played in full.

    Attributes:
        fixed_tokens: length of each prompt text that does not grow.
        output_tokens: tokens that each agent wrote.
        thinking_tokens: that each agent thought before, of those that did.
        surfaces: by agent and layout.
        score: the task's score of the answer, if the task has one.
        without: by agent, the surface with one of its sources left out, each request another one;
            in the first layout. Of some requests only.
        restarts: by agent, what interruptions cost where texts are interleaved.
        rounds: by agent, the surface of everything read in rounds that are appended; rows are the
            profile's ``round_counts``.
        updates: how inputs came that replaced part of what they said.
        passes: in which each agent's text is written where it is guessed, of those whose engine
            looks up how texts go on.
        read_on: by agent and layout, where checks were to be forecast.
    """

    fixed_tokens: dict[str, int]
    output_tokens: dict[str, int]
    surfaces: dict[str, dict[str, QualitySurface]]
    score: float | None = None
    without: dict[str, QualitySurface] = field(default_factory=dict)
    restarts: dict[str, Restarts] = field(default_factory=dict)
    thinking_tokens: dict[str, int] = field(default_factory=dict)
    rounds: dict[str, QualitySurface] = field(default_factory=dict)
    updates: dict[str, tuple[Update, ...]] = field(default_factory=dict)
    passes: dict[str, tuple[Pass, ...]] = field(default_factory=dict)
    read_on: dict[str, dict[str, ReadOn]] = field(default_factory=dict)


@dataclass(frozen=True)
class QualityProfile:
    """Samples over a grid of read levels and own positions.

    Attributes:
        read_levels: tokens of each source shown, increasing.
        bin_tokens: own positions are averaged over bins of so many tokens.
        sources: of each reading agent, in prompt order.
        played: schedules that were played for real, by which forecasts are calibrated.
        of: the pipeline that was measured; None in older files.
        round_counts: in how many rounds everything was read, increasing; none where nothing is
            appended.
        held: answers that were written after reading part of the drafts, beside full reading; none
            where the answering agent is not greedy.
        lookups: by agent, how its engine looked up what follows, in words.
    """

    read_levels: tuple[int, ...]
    bin_tokens: int
    sources: dict[str, tuple[str, ...]]
    samples: tuple[QualitySample, ...]
    provenance: Provenance = field(compare=False)
    played: tuple[PlayedSchedule, ...] = ()
    of: PipelineSubject | None = None
    held: tuple[HeldText, ...] = ()
    round_counts: tuple[int, ...] = ()
    lookups: dict[str, str] = field(default_factory=dict)

    @property
    def layouts(self) -> tuple[str, ...]:
        """In which it was measured what every agent that reads loses."""
        known = [tuple(by) for one in self.samples for by in one.surfaces.values()]
        return tuple(name for name in LAYOUTS if all(name in some for some in known))

    @property
    def subject(self) -> PipelineSubject:
        """Of older files: what can be seen in them."""
        if self.of is not None:
            return self.of
        agents = [name for sample in self.samples[:1] for name in sample.output_tokens]
        return PipelineSubject(None, {name: self.sources.get(name, ()) for name in agents})


def save_quality(path: Path, profile: QualityProfile) -> str:
    return save(path, SCHEMA, profile, QualityProfile)


def load_quality(path: Path) -> QualityProfile:
    return load(path, SCHEMA, QualityProfile, ProfileError)


def bin_rows(rows: Sequence[Sequence[float]], bin_tokens: int) -> Matrix:
    """Averages every row over bins of ``bin_tokens`` positions."""
    return tuple(
        tuple(
            round(float(np.mean(row[start : start + bin_tokens])), 4)
            for start in range(0, len(row), bin_tokens)
        )
        for row in rows
    )
