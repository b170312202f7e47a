"""Values in files of others; what is wrong names file and key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staircase.errors import ProfileError
from staircase.files import parse_json, read_json_lines, read_text

# More of a unit was never measured; sums and squares of the rest are finite.
MOST = 1e15


@dataclass(frozen=True)
class Node:
    """A value and where it stands: in ``place``, a file and maybe a line, under ``key``."""

    place: str
    key: str
    value: Any

    def __getitem__(self, key: str) -> Node:
        if not isinstance(self.value, Mapping):
            raise self.error(f"must be an object with {key!r}")
        if key not in self.value:
            raise ProfileError(f"{self.place}: no key {self._under(key)!r}")
        return Node(self.place, self._under(key), self.value[key])

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, Mapping) and self.value.get(key) is not None

    def __iter__(self) -> Iterator[Node]:
        if not isinstance(self.value, list):
            raise self.error("must be a list")
        for number, value in enumerate(self.value):
            yield Node(self.place, f"{self.key}[{number}]", value)

    def number(self, least: float = 0.0) -> float:
        """A finite number of at least ``least``."""
        value = self.value
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # So written, the comparison fails for NaN as well.
        if not is_number or not least <= value <= MOST:
            raise self.error(f"must be a number, {least:g} or more")
        return float(value)

    def positive(self) -> float:
        """A finite number above 0: what was measured takes some time."""
        value = self.number()
        if value == 0:
            raise self.error("must be more than 0")
        return value

    def count(self, least: int = 0) -> int:
        value = self.number(least)
        if not value.is_integer():
            raise self.error("must be a whole number")
        return int(value)

    def error(self, wanted: str) -> ProfileError:
        return ProfileError(f"{self.place}: {self.key or 'it'} is {shown(self.value)}, {wanted}")

    def _under(self, key: str) -> str:
        return f"{self.key}.{key}" if self.key else key


def shown(value: object) -> str:
    """As Python writes it; the beginning, where it is long."""
    words = repr(value)
    return words if len(words) <= 40 else f"{words[:40]}…"


def read_node(path: Path, what: str) -> Node:
    """The JSON value in ``path``.

    Raises:
        ProfileError: the file is missing or holds no JSON; says that it should be ``what``.
    """
    return parse_node(path, read_text(path, ProfileError, what), what)


def parse_node(path: Path, text: str, what: str) -> Node:
    """As ``read_node`` of ``path``, of which ``text`` was read."""
    return Node(str(path), "", parse_json(text, ProfileError, str(path), f"; it should be {what}"))


def read_node_lines(path: Path, what: str) -> list[Node]:
    """The JSON values in the lines of ``path``, at least one; raises as ``read_node``."""
    lines = read_json_lines(path, ProfileError, what)
    nodes = [Node(place, "", value) for place, value in lines]
    if not nodes:
        raise ProfileError(f"{path}: holds nothing; it should be {what}")
    return nodes
