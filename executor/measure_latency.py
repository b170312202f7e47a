"""Measures what prefill and decode cost on an in-process engine, through the engine itself."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from executor.engine import CallReport, Engine, EngineCall, Key
from profiles.latency import DecodePoint, EngineProfile, PrefillPoint, fit_engine

NEW_TOKENS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)
CACHED_TOKENS = (0, 32, 64, 128, 256, 512, 1024, 2048)
DECODE_RUN = 16


@dataclass
class _Recorder:
    """Listens to one call at a time."""

    token_ns: list[int] = field(default_factory=list)
    report: CallReport | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self.token_ns.append(time_ns)

    def on_end(self, key: Key, report: CallReport) -> None:
        self.report = report
        self.done.set()


@dataclass(frozen=True)
class Grid:
    """What is measured: (new, cached) prefills and decode contexts, ``repeats`` times each."""

    prefill: tuple[tuple[int, int], ...]
    decode: tuple[int, ...]
    repeats: int

    @staticmethod
    def up_to(max_prompt_tokens: int, repeats: int = 5) -> Grid:
        new = [n for n in NEW_TOKENS if n <= max_prompt_tokens]
        cached = [n for n in CACHED_TOKENS if n < max_prompt_tokens]
        pairs = [(n, k) for n in new for k in cached if n + k <= max_prompt_tokens]
        longest = max_prompt_tokens - DECODE_RUN
        contexts = sorted({n for n in (8, *CACHED_TOKENS[1:], longest) if 0 < n <= longest})
        return Grid(tuple(pairs), tuple(contexts), repeats)

    def visits(self, seed: int) -> list[tuple[int, int] | int]:
        """Every point, ``repeats`` times, in random order so that drift hits all alike."""
        visits: list[tuple[int, int] | int] = [*self.prefill, *self.decode] * self.repeats
        random.Random(seed).shuffle(visits)
        return visits


@dataclass
class _Bench:
    """Runs calls on one engine and keeps the samples."""

    engine: Engine
    vocabulary_size: int
    rng: random.Random
    keys: Iterator[int] = field(default_factory=count)
    prefill: dict[tuple[int, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    decode: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    waits: list[float] = field(default_factory=list)

    def visit(self, point: tuple[int, int] | int) -> None:
        if isinstance(point, int):
            self._visit_decode(point)
        else:
            self._visit_prefill(*point)

    def _visit_prefill(self, new: int, cached: int) -> None:
        prompt = self._prompt(new + cached)
        if cached:
            self._call(prompt[:cached], 1)
        recorder, _ = self._call(prompt, 1)
        assert recorder.report is not None
        if recorder.report.cached_tokens == cached:
            seconds = (recorder.token_ns[0] - recorder.report.started_ns) / 1e9
            self.prefill[new, cached].append(seconds)

    def _visit_decode(self, context: int) -> None:
        recorder, submitted = self._call(self._prompt(context), DECODE_RUN + 1)
        assert recorder.report is not None
        gaps = np.diff(recorder.token_ns) / 1e9
        self.decode[context + DECODE_RUN // 2] += gaps.tolist()
        self.waits.append((recorder.report.started_ns - submitted) / 1e9)

    def _prompt(self, tokens: int) -> list[int]:
        return [self.rng.randrange(self.vocabulary_size) for _ in range(tokens)]

    def _call(self, prompt: Sequence[int], tokens: int) -> tuple[_Recorder, int]:
        recorder, submitted = _Recorder(), time.perf_counter_ns()
        self.engine.submit(
            EngineCall((0, next(self.keys)), prompt, tokens, ignore_end=True), recorder
        )
        recorder.done.wait()
        if recorder.report and recorder.report.error:
            raise RuntimeError(recorder.report.error)
        return recorder, submitted


def measure_latency(
    engine: Engine,
    vocabulary_size: int,
    grid: Grid,
    seed: int = 0,
    on_visit: Callable[[], None] = lambda: None,
) -> EngineProfile:
    """Visits every point of ``grid`` on ``engine`` and fits the latency model."""
    bench = _Bench(engine, vocabulary_size, random.Random(seed))
    for point in grid.visits(seed)[:10]:
        bench.visit(point)
    bench = _Bench(engine, vocabulary_size, random.Random(seed))
    for point in grid.visits(seed):
        bench.visit(point)
        on_visit()
    return fit_engine(
        [PrefillPoint(*point, *_robust(bench.prefill[point])) for point in sorted(bench.prefill)],
        [DecodePoint(1, point, *_robust(bench.decode[point])) for point in sorted(bench.decode)],
        float(np.median(bench.waits)),
    )


def _robust(samples: Sequence[float]) -> tuple[float, float, float]:
    """Median; median absolute deviation and mean, both relative to it."""
    middle = float(np.median(samples))
    deviation = float(np.median(np.abs(np.asarray(samples) - middle)))
    return middle, deviation / middle, float(np.mean(samples)) / middle
