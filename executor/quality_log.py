"""Quality samples that were measured so far (``executor.line_log``), by request number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import TypeAdapter

from executor.line_log import LineLog
from profiles.quality import QualitySample

_SAMPLE = TypeAdapter(QualitySample)


class QualityLog:
    """Samples of one pipeline, measured in one way.

    Args:
        key: of what is measured and how; samples of anything else are not used.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._log, self._key = LineLog(path, [key]), key
        self._found = {
            line["number"]: _SAMPLE.validate_python(line["sample"]) for line in self._log.lines(key)
        }

    @property
    def notes(self) -> list[str]:
        return self._log.notes

    def __len__(self) -> int:
        return len(self._found)

    def sample(self, number: int, measure: Callable[[], QualitySample]) -> QualitySample:
        """The one that is there, or what ``measure`` gives, which is kept.

        Raises:
            InputError: nothing can be written there.
        """
        if number not in self._found:
            self._found[number] = measure()
            plain = _SAMPLE.dump_python(self._found[number], mode="json")
            self._log.append(self._key, {"number": number, "sample": plain})
        return self._found[number]

    def remove(self) -> None:
        self._log.remove()
