"""The catalogue: profiles that come with Staircase, and how profiles are found by name.

A profile is named by its file (``*.json``) or by the catalogue's name for it, the file's name in
this folder. Where they are from is in each file's provenance; ``benchmarks/catalog.py`` makes them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from profiles.latency.endpoint import SCHEMA as ENDPOINT
from profiles.latency.endpoint import EndpointProfile, load_endpoint
from profiles.latency.profile import SCHEMA as LATENCY
from profiles.latency.profile import EngineProfile, LatencyProfile, load_latency
from profiles.store import schema_of
from staircase.errors import ProfileError
from staircase.files import named_path

FOLDER = Path(__file__).parent
AnyProfile = LatencyProfile | EndpointProfile
READERS: Mapping[str, Callable[[Path], AnyProfile]] = {
    LATENCY: load_latency,
    ENDPOINT: load_endpoint,
}


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def find(name: str, folder: Path = Path()) -> Path:
    """The file of a profile: in ``folder``, or in the catalogue.

    Raises:
        ProfileError: no such name; names the nearest, or all.
    """
    if name.endswith(".json"):
        return named_path(name, folder)
    if name in names():
        return FOLDER / f"{name}.json"
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names())}"
    raise ProfileError(f"profile {name!r} is neither a file (*.json) nor in the catalogue; {hint}")


def load(path: Path) -> AnyProfile:
    """A profile of any kind.

    Raises:
        ProfileError: the file is missing, edited, or no profile of engines or of an endpoint.
    """
    schema = schema_of(path, ProfileError)
    if schema not in READERS:
        raise ProfileError(f"{path}: its schema is {schema!r}, must be {' or '.join(READERS)}")
    return READERS[schema](path)


@cache
def engine_profile(name: str, engine: str | None, folder: Path = Path()) -> EngineProfile:
    """What ``engine`` of the profile ``name`` costs; read once. Raises as the functions below."""
    return load_engine(find(name, folder), engine)


def load_engine(path: Path, engine: str | None) -> EngineProfile:
    """The one engine of the latency profile in ``path``, or that named ``engine``.

    Raises:
        ProfileError: the file is no such profile, has no such engine, or has several.
    """
    engines: Mapping[str, EngineProfile] = load_latency(path).engines
    known = ", ".join(engines)
    if engine is None and len(engines) != 1:
        raise ProfileError(f"{path}: has several engines, say which: {known}")
    if engine is not None and engine not in engines:
        raise ProfileError(f"{path}: has no engine {engine!r}; it has {known}")
    return engines[engine] if engine is not None else next(iter(engines.values()))
