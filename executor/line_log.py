"""What was measured so far, in a file beside the profile, so that it can go on after an interrupt.

JSON lines, each with the key of what was measured and a hash of the line. A line that was edited,
or that is of something else, is counted and not used. Half a line at the end is what an interrupt
leaves: it is cut off before the next one is written, and nothing else of the file is touched.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import count
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

    Raises:
        InputError: what lies there cannot be read.
    """

    def __init__(self, path: Path, keys: Collection[str], what: str = "samples") -> None:
        self.path = path
        self._what = what
        self._found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._left_out: Counter[str] = Counter()
        # Bytes before half a line at the end, and what a last line lacks that has no end.
        self._whole_bytes: int | None = None
        self._missing = ""
        self._writing = threading.Lock()
        self._read(keys)

    @property
    def notes(self) -> list[str]:
        return [
            f"{self.path}: {lines} {self._what} {why}; they are not used"
            for why, lines in self._left_out.items()
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
        with self._writing:
            try:
                self._write(text)
            except OSError as error:
                raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None
            self._whole_bytes, self._missing = None, ""

    def _write(self, line: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            if self._whole_bytes is not None:
                file.truncate(self._whole_bytes)
            file.write(f"{self._missing}{line}\n".encode())

    def remove(self) -> None:
        """What was measured is in the profile now."""
        self.path.unlink(missing_ok=True)

    def _read(self, keys: Collection[str]) -> None:
        *whole, last = _stored(self.path).split(b"\n")
        if _content(last) is not None:
            whole, self._missing = [*whole, last], "\n"
        elif last:
            self._whole_bytes = sum(len(line) + 1 for line in whole)
        for line in whole:
            self._take(line, keys)

    def _take(self, line: bytes, keys: Collection[str]) -> None:
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
            with suppress(ValidationError, LookupError, TypeError):
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

    def append(self, item: T) -> None:
        """As ``add``, under a name that is free."""
        free = (str(number) for number in count(len(self)) if str(number) not in self._found)
        self.add(next(free), item)

    def item(self, name: str, make: Callable[[], T]) -> T:
        """The one that is there, or what ``make`` gives, which is kept."""
        if name not in self._found:
            self.add(name, make())
        return self._found[name]


def _stored(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _content(line: bytes) -> dict[str, Any] | None:
    """What ``append`` wrote; None if it is something else."""
    try:
        content = json.loads(line.decode())
        is_ours = isinstance(content, dict) and content.pop("hash") == content_hash(content)
        return content if is_ours and isinstance(content["key"], str) else None
    except (ValueError, LookupError, RecursionError):
        return None
