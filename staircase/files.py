"""Files that are never half-written, and their one-line errors."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from staircase.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` beside ``path`` and renames it, so a reader sees all of it or nothing.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        _write_text(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); name a file in a folder that can be"
        ) from None


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_text(path: Path, kind: type[InputError], what: str) -> str:
    """The text of ``path``, or one clear line that says ``what`` should be there."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise kind(f"{path}: no such file; it should be {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise kind(f"{path}: cannot be read ({reason}); it should be {what}") from None


def without_nan(content: Any) -> Any:
    """``content`` with None for NaN, which JSON does not have."""
    if isinstance(content, Mapping):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def first_error(error: ValidationError) -> str:
    """The first of pydantic's errors as ``key: what is wrong``."""
    problem: dict[str, Any] = dict(error.errors()[0])
    key = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
