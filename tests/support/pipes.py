"""Files that can be read once, as a shell's ``<(…)``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def piped(text: str) -> Iterator[Path]:
    """A pipe that holds ``text``, which a pipe's buffer has to hold as a whole."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as file:
        file.write(text)
    try:
        yield Path(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
