"""Where the parts of a measurement meet: one model, one record, one clock."""

from __future__ import annotations

import gc
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.shape import ModelShape, load_shape
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel
from staircase.files import write_text

SCHEMA = "staircase.gpu_moa/1"

Row = dict[str, Any]


class Journal:
    """A JSON file that is whole again after everything that was measured.

    A file that is there already is continued: a part that runs again replaces its rows.
    """

    def __init__(self, path: Path, shape: str) -> None:
        self._path = path
        self.content: dict[str, Any] = {"schema": SCHEMA, "shape": shape, "skipped": {}}
        if path.exists():
            self.content = self._continued(shape)

    def _continued(self, shape: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8"))
        if (content.get("schema"), content.get("shape")) != (SCHEMA, shape):
            raise SystemExit(f"{self._path} is of another shape or schema; name another folder")
        return content

    def rows(self, part: str) -> list[Row]:
        return list(self.content.get(part, []))

    def put(self, part: str, rows: list[Row]) -> None:
        self.content[part] = rows
        self._write()

    def skip(self, part: str, reason: str) -> None:
        """Empty: nothing was left out."""
        self.content["skipped"].pop(part, None)
        if reason:
            self.content["skipped"][part] = reason
        self._write()

    def _write(self) -> None:
        write_text(self._path, json.dumps(self.content, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Stopwatch:
    """Counts a run's seconds."""

    started_s: float = field(default_factory=time.monotonic)

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.started_s

    def is_past(self, seconds: float) -> bool:
        return self.now_s > seconds


@dataclass
class Harness:
    """What every part works with."""

    shape: ModelShape
    device: str
    folder: Path
    journal: Journal
    requests: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    @cached_property
    def model(self) -> LoadedModel:
        """Loaded when the first part needs it, and shared by all engines."""
        if self.device == "cpu":
            torch.set_num_threads(1)
        return load_shape(self.shape, self.device)

    @property
    def is_static(self) -> bool:
        """Whether engines decode with CUDA graphs if nobody says otherwise."""
        return self.model.device.type == "cuda"

    def prompt(self, tokens: int) -> list[int]:
        return [self.rng.randrange(self.model.vocabulary_size) for _ in range(tokens)]

    @contextmanager
    def engines(
        self, *slots: int, is_static: bool | None = None, max_num_batched_tokens: int = 2048
    ) -> Iterator[list[BatchingEngine]]:
        """Engines in turn on one device; gives their memory back at the end."""
        with Device() as device:
            yield [
                BatchingEngine(self.model, device, count, max_num_batched_tokens, is_static)
                for count in slots
            ]
        gc.collect()
        if self.is_static:
            torch.cuda.empty_cache()
