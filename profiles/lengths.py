"""Length profiles: how long the texts of a pipeline's requests are, where quality is not known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from profiles.guessed_passes import Pass
from profiles.store import Provenance, load, save
from profiles.subject import PipelineSubject
from staircase.errors import ProfileError
from staircase.revisions.updates import Update

SCHEMA = "staircase.lengths/1"


@dataclass(frozen=True)
class LengthSample:
    """One request that was played in full.

    Attributes:
        fixed_tokens: length of each prompt text that does not grow.
        output_tokens: tokens that each agent wrote.
        thinking_tokens: that each agent thought before, of those that did.
        items: tokens before each item of an agent's text, of those whose items start others.
        updates: how inputs came that replaced part of what they said.
        passes: in which each agent's text is written where it is guessed, of those whose engine
            looks up how texts go on.
    """

    fixed_tokens: dict[str, int]
    output_tokens: dict[str, int]
    thinking_tokens: dict[str, int] = field(default_factory=dict)
    items: dict[str, list[int]] = field(default_factory=dict)
    updates: dict[str, tuple[Update, ...]] = field(default_factory=dict)
    passes: dict[str, tuple[Pass, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class LengthProfile:
    """Requests as lengths.

    Attributes:
        why: quality was not measured, in words.
        of: the pipeline that was played.
        lookups: by agent, how its engine looked up what follows, in words.
    """

    samples: tuple[LengthSample, ...]
    why: str
    of: PipelineSubject
    provenance: Provenance = field(compare=False)
    lookups: dict[str, str] = field(default_factory=dict)


def save_lengths(path: Path, profile: LengthProfile) -> str:
    return save(path, SCHEMA, profile, LengthProfile)


def load_lengths(path: Path) -> LengthProfile:
    return load(path, SCHEMA, LengthProfile, ProfileError)
