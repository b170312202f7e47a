"""Profile and plan files: JSON with a schema, provenance and a content hash.

A file of another schema, or one that was edited by hand, is told, not silently used.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from staircase.errors import InputError
from staircase.files import first_error, parse_json, read_text, write_text

T = TypeVar("T")
PACKAGES = ("numpy", "scipy", "simpy", "optuna", "torch", "transformers")


@dataclass(frozen=True)
class Provenance:
    """Where, when and with what something was made."""

    made: str
    machine: str
    python: str
    packages: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def provenance_of_now(settings: Mapping[str, Any] | None = None) -> Provenance:
    return Provenance(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=f"{_processor()}, {platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        settings=settings or {},
    )


def imported(source: str, path: Path, settings: Mapping[str, Any] | None = None) -> Provenance:
    """Of measurements of others in ``path``, read now."""
    said = {"source": source, "file": path.name, **(settings or {})}
    return replace(provenance_of_now(said), machine="not said by the file that was imported")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0]} × {len(models)}" if models else "unknown processor"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def save(path: Path, schema: str, content: T, kind: type[T]) -> str:
    """Writes ``content`` and returns its hash."""
    body = TypeAdapter(kind).dump_python(content, mode="json")
    digest = content_hash(body)
    document = {"schema": schema, "hash": digest, "content": body}
    write_text(path, json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
    return digest


def hash_of(content: T, kind: type[T]) -> str:
    """The hash that ``save`` would give it."""
    return content_hash(TypeAdapter(kind).dump_python(content, mode="json"))


def load(path: Path, schema: str, kind: type[T], error: type[InputError]) -> T:
    """Reads what ``save`` wrote.

    Raises:
        error: the file is absent, of another schema, edited, or not such a file at all.
    """
    text = read_text(path, error, f"a {schema} file")
    document = parse_json(text, error, str(path))
    try:
        found, digest, body = document["schema"], document["hash"], document["content"]
    except (KeyError, TypeError):
        raise error(f"{path}: not a {schema} file") from None
    if found != schema:
        raise error(f"{path}: its schema is {found!r}, this version reads {schema!r}; make it anew")
    if content_hash(body) != digest:
        raise error(f"{path}: was edited after it was made (its hash differs); make it anew")
    try:
        return TypeAdapter(kind).validate_python(body)
    except ValidationError as problem:
        raise error(f"{path}: {first_error(problem)}") from None


def content_hash(body: Any) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def schema_of(path: Path, error: type[InputError]) -> str:
    """The schema that the file in ``path`` says it has."""
    document = parse_json(read_text(path, error, "a profile"), error, str(path))
    try:
        return str(document["schema"])
    except (KeyError, TypeError):
        raise error(f"{path}: not a profile of Staircase") from None


def stored_hash(path: Path) -> str:
    """The hash that ``save`` wrote into ``path``."""
    return str(json.loads(path.read_text(encoding="utf-8"))["hash"])
