"""What was measured so far, in a file beside the profile, so that it can go on after an interrupt.

JSON lines, each with the key of what was measured and a hash of the line. A line that was edited,
or that is of something else, is counted and not used; half a line at the end is what an interrupt
leaves.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from profiles.store import content_hash
from staircase.errors import InputError

T = TypeVar("T")


class LineLog:
    """Appends lines by key; ``notes`` says in words what of the file was not used.

    Args:
        path: where a file can be written (``staircase.files.check_writable``).
        keys: of what is to be measured; lines of others are not used.
        what: lines are called so in ``notes``.
    """

    def __init__(self, path: Path, keys: Collection[str], what: str = "samples") -> None:
        self.path = path
        self._what = what
        self._found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._left_out: Counter[str] = Counter()
        if path.exists():
            self._read(keys)

    @property
    def notes(self) -> list[str]:
        return [
            f"{self.path}: {count} {self._what} {why}; they are not used"
            for why, count in self._left_out.items()
        ]

    def __len__(self) -> int:
        """Lines that are used."""
        return sum(map(len, self._found.values()))

    def lines(self, key: str) -> list[dict[str, Any]]:
        return list(self._found[key])

    def append(self, key: str, line: Mapping[str, Any]) -> None:
        """Raises InputError if nothing can be written there."""
        content = {"key": key, **line}
        text = json.dumps({**content, "hash": content_hash(content)})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None

    def remove(self) -> None:
        """What was measured is in the profile now."""
        self.path.unlink(missing_ok=True)

    def _read(self, keys: Collection[str]) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        whole, _, half = text.rpartition("\n")
        for line in whole.splitlines():
            self._take(line, keys)
        if half:
            # The next line must not be glued to it.
            self.path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")

    def _take(self, line: str, keys: Collection[str]) -> None:
        content = _content(line)
        if content is None:
            self._left_out["were edited"] += 1
        elif content["key"] not in keys:
            self._left_out["are of another engine or scenario"] += 1
        else:
            self._found[content.pop("key")].append(content)


class ItemLog(Generic[T]):
    """Items of one kind, each with a name, in the lines of one key."""

    def __init__(self, lines: LineLog, key: str, kind: type[T]) -> None:
        self._lines, self._key, self._kind = lines, key, TypeAdapter(kind)
        self._found: dict[str, T] = {}
        for line in lines.lines(key):
            # What another version wrote may not fit.
            with suppress(ValidationError):
                self._found[line["name"]] = self._kind.validate_python(line["item"])

    def __len__(self) -> int:
        return len(self._found)

    def get(self, name: str) -> T | None:
        return self._found.get(name)

    def items(self) -> list[T]:
        """In the order in which they were added."""
        return list(self._found.values())

    def add(self, name: str, item: T) -> None:
        """Raises InputError if nothing can be written there."""
        self._found[name] = item
        plain = self._kind.dump_python(item, mode="json")
        self._lines.append(self._key, {"name": name, "item": plain})

    def item(self, name: str, make: Callable[[], T]) -> T:
        """The one that is there, or what ``make`` gives, which is kept."""
        if name not in self._found:
            self.add(name, make())
        return self._found[name]


def _content(line: str) -> dict[str, Any] | None:
    """What ``append`` wrote; None if it is something else."""
    try:
        content: dict[str, Any] = json.loads(line)
        return content if content.pop("hash") == content_hash(content) else None
    except (ValueError, KeyError, AttributeError):
        return None
