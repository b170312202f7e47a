"""In what passes texts were written, from the profile that has it: of quality, or of lengths."""

from __future__ import annotations

from pathlib import Path

from profiles import lengths
from profiles.guessed_passes import GuessedTexts, texts_of
from profiles.quality import profile as quality
from profiles.store import schema_of
from staircase.errors import ProfileError


def measured_guesses(path: Path, agent: str) -> GuessedTexts:
    """Of ``agent``.

    Raises:
        ProfileError: it is no such profile, or does not know of guesses of this agent.
    """
    found = texts_of([sample.passes for sample in _profile(path).samples])
    if agent not in found:
        known = f"only of {', '.join(found)}" if found else "and of nobody's"
        raise ProfileError(
            f"{path}: does not know of guesses of {agent!r}, {known}; profile a scenario whose "
            "engine of this agent has prompt_lookup"
        )
    return found[agent]


def _profile(path: Path) -> lengths.LengthProfile | quality.QualityProfile:
    schema = schema_of(path, ProfileError)
    if schema == lengths.SCHEMA:
        return lengths.load_lengths(path)
    if schema == quality.SCHEMA:
        return quality.load_quality(path)
    raise ProfileError(f"{path}: is a {schema} file, and must be a profile of quality or lengths")
