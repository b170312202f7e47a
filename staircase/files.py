"""Files that are never half-written, and their one-line errors."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from staircase.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` beside ``path`` and renames it, so a reader sees all of it or nothing."""
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


def first_error(error: ValidationError) -> str:
    """The first of pydantic's errors as ``key: what is wrong``."""
    problem: dict[str, Any] = dict(error.errors()[0])
    key = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
