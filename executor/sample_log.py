"""Latency samples that were measured so far (``executor.line_log``)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from executor.latency_places import Decode, Mixed, Place, Prefill
from executor.latency_visits import Sample
from executor.line_log import LineLog

KINDS: dict[str, type[Place]] = {kind.__name__: kind for kind in (Prefill, Decode, Mixed)}


class SampleLog:
    """Samples by the keys of ``log``."""

    def __init__(self, log: LineLog) -> None:
        self._log = log

    def samples(self, key: str) -> list[Sample]:
        return [_sample(line) for line in self._log.lines(key)]

    def append(self, key: str, sample: Sample) -> None:
        """Raises InputError if nothing can be written there."""
        self._log.append(key, {"kind": type(sample.place).__name__, **asdict(sample)})


def _sample(line: dict[str, Any]) -> Sample:
    place = KINDS[line["kind"]](**line["place"])
    return Sample(place, tuple(line["seconds"]), line["wait_s"], line["took_s"])
