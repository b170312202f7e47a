"""What was measured so far, in a file beside the profile, so that it can go on after an interrupt.

JSON lines, each a sample with the key of what was measured and a hash of the line. A line that was
edited, or that is of something else, is counted and not used; half a line at the end is what an
interrupt leaves.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from executor.latency_places import Decode, Mixed, Place, Prefill
from executor.latency_visits import Sample
from profiles.store import content_hash
from staircase.errors import InputError

KINDS: dict[str, type[Place]] = {kind.__name__: kind for kind in (Prefill, Decode, Mixed)}


class SampleLog:
    """Appends samples by key; ``notes`` says in words what of the file was not used.

    Args:
        keys: of what is to be measured; samples of others are not used.
    """

    def __init__(self, path: Path, keys: Collection[str]) -> None:
        self._path = path
        self._found: dict[str, list[Sample]] = defaultdict(list)
        self._left_out: Counter[str] = Counter()
        if path.exists():
            self._read(keys)

    @property
    def notes(self) -> list[str]:
        return [
            f"{self._path}: {count} samples {why}; they are not used"
            for why, count in self._left_out.items()
        ]

    def samples(self, key: str) -> list[Sample]:
        return list(self._found[key])

    def append(self, key: str, sample: Sample) -> None:
        """Raises InputError if nothing can be written there."""
        content = {"key": key, "kind": type(sample.place).__name__, **asdict(sample)}
        line = json.dumps({**content, "hash": content_hash(content)})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from None

    def remove(self) -> None:
        """What was measured is in the profile now."""
        self._path.unlink(missing_ok=True)

    def _read(self, keys: Collection[str]) -> None:
        text = self._path.read_text(encoding="utf-8", errors="replace")
        whole, _, half = text.rpartition("\n")
        for line in whole.splitlines():
            self._take(line, keys)
        if half:
            # The next line must not be glued to it.
            self._path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")

    def _take(self, line: str, keys: Collection[str]) -> None:
        content = _content(line)
        if content is None:
            self._left_out["were edited"] += 1
        elif content["key"] not in keys:
            self._left_out["are of another engine or scenario"] += 1
        else:
            self._found[content["key"]].append(_sample(content))


def _content(line: str) -> dict[str, Any] | None:
    """What ``append`` wrote; None if it is something else."""
    try:
        content: dict[str, Any] = json.loads(line)
        return content if content.pop("hash") == content_hash(content) else None
    except (ValueError, KeyError, AttributeError):
        return None


def _sample(content: dict[str, Any]) -> Sample:
    place = KINDS[content["kind"]](**content["place"])
    return Sample(place, tuple(content["seconds"]), content["wait_s"], content["took_s"])
