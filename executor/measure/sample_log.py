"""Latency samples that were measured so far (``executor.line_log``)."""

from __future__ import annotations

from executor.line_log import ItemLog, LineLog
from executor.measure.measurements import Sample


class SampleLog:
    """Samples by the keys of ``log``."""

    def __init__(self, log: LineLog) -> None:
        self._log = log
        self._items: dict[str, ItemLog[Sample]] = {}

    def samples(self, key: str) -> list[Sample]:
        return self._of(key).items()

    def append(self, key: str, sample: Sample) -> None:
        """Raises InputError if nothing can be written there."""
        self._of(key).append(sample)

    def _of(self, key: str) -> ItemLog[Sample]:
        if key not in self._items:
            self._items[key] = ItemLog(self._log, key, Sample)
        return self._items[key]
