"""What an engine's iterations cost beside others: in turn on one device, or on other cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from executor.measure.call_recorder import CallRecorder, begin, serve
from executor.measure.measurements import Target

REPEATS = 9
CONTEXT_TOKENS = 64
WRITTEN_TOKENS = 48
# Other work on the machine only adds to times, and more to longer ones: the fast end counts.
FAST_PERCENT = 10


def measure_contention(one: Target, other: Target, repeats: int = REPEATS) -> float:
    """Seconds between tokens when both decode in turn, over the sum of both alone.

    1 where taking turns costs nothing that can be told from noise; else the median over
    repetitions, in which both take turns too so that a machine's drift hits all alike.

    Raises:
        RuntimeError: a call failed.
    """
    # The first one warms up.
    ratios = np.array([_ratio(one, other) for _ in range(repeats + 1)][1:])
    found = float(np.median(ratios))
    # Twice the standard error of a median: 1.48 · 1.25 · the median deviation / √n.
    doubt = 2 * 1.85 * float(np.median(np.abs(ratios - found))) / repeats**0.5
    return found if abs(found - 1) > doubt else 1.0


@contextmanager
def kept_busy(others: Sequence[Target]) -> Iterator[None]:
    """Each of ``others`` decodes without a break meanwhile.

    Raises:
        RuntimeError: a call of one failed, so it was not busy to the end.
    """
    is_over = threading.Event()

    def keep_on(target: Target) -> None:
        while not is_over.is_set():
            _served(target)

    with ThreadPoolExecutor(max(1, len(others))) as pool:
        busy = [pool.submit(keep_on, target) for target in others]
        try:
            yield
        finally:
            is_over.set()
    for one in busy:
        one.result()


def _ratio(one: Target, other: Target) -> float:
    alone_s = sum(_gap_s(_served(target).times_ns[0]) for target in (one, other))
    together = [begin(t.engine, [_prompt(t)], WRITTEN_TOKENS) for t in (one, other)]
    for recorder in together:
        recorder.wait()
    first, second = (recorder.times_ns[0] for recorder in together)
    joint = [ns for ns in first if second[0] <= ns <= second[-1]]
    return _gap_s(joint) / alone_s


def _served(target: Target) -> CallRecorder:
    return serve(target.engine, [_prompt(target)], WRITTEN_TOKENS)


def _prompt(target: Target) -> list[int]:
    return target.draw(min(CONTEXT_TOKENS, target.max_prompt_tokens))


def _gap_s(times_ns: Sequence[int]) -> float:
    """Between neighbours; all of ``times_ns`` are of one call."""
    return float(np.percentile(np.diff(times_ns), FAST_PERCENT)) / 1e9
