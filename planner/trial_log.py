"""Forecasts of a search on disk, as they are made: a search that was killed goes on from there.

A search of the same seed asks for the same schedules in the same order, so going on is playing it
again with the forecasts that are known: no trial is lost and none is made twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from pydantic import TypeAdapter, ValidationError

from planner.plans import Candidate
from staircase.schedule import Schedule

SCHEMA = "staircase.trials/1"
_CANDIDATE = TypeAdapter(Candidate)


class TrialLog:
    """A file of JSON lines: a heading with ``key``, then one candidate a line.

    A file with another key is of another search, and is begun anew; a last line that was not
    written to its end is dropped. A context manager.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._heading = json.dumps({"schema": SCHEMA, "key": key})
        self._known: dict[str, Candidate] = {}
        self._file: TextIO | None = None

    def __len__(self) -> int:
        return len(self._known)

    def __enter__(self) -> Self:
        self._known = {repr(one.schedule): one for one in self._read()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("w", encoding="utf-8")
        self._write(self._heading)
        for candidate in self._known.values():
            self._write(_CANDIDATE.dump_json(candidate).decode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """After a search that came to its end nobody needs it any more."""
        assert self._file
        self._file.close()
        if kind is None:
            self._path.unlink()

    def recall(self, schedule: Schedule) -> Candidate | None:
        return self._known.get(repr(schedule))

    def note(self, candidate: Candidate) -> None:
        self._known[repr(candidate.schedule)] = candidate
        self._write(_CANDIDATE.dump_json(candidate).decode())

    def _write(self, line: str) -> None:
        assert self._file
        self._file.write(line + "\n")
        # Whatever the process comes to, the line is with the system.
        self._file.flush()

    def _read(self) -> Iterator[Candidate]:
        try:
            heading, *lines = self._path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            return
        for line in lines if heading == self._heading else ():
            try:
                yield _CANDIDATE.validate_json(line)
            except ValidationError:
                return
