"""What is known by name, and what is said of a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from staircase.errors import ProfileError

Known = TypeVar("Known")


def known_by(name: str, table: Mapping[str, Known], kind: str) -> Known:
    """What ``table`` has under ``name``.

    Raises:
        ProfileError: it has nothing there; names the nearest, or all.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(table)}"
    raise ProfileError(f"{kind} {name!r} is not known; {hint}")
