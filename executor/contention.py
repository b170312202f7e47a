"""What an engine's iterations cost when another engine's run in turn on the same device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from executor.heard import begin, serve
from executor.latency_visits import Target

REPEATS = 9
CONTEXT_TOKENS = 64
WRITTEN_TOKENS = 48


def measure_contention(one: Target, other: Target) -> float:
    """Seconds between tokens when both decode in turn, over the sum of both alone.

    1 where taking turns costs nothing; the median over repetitions, in which both take turns too
    so that a machine's drift hits all alike.

    Raises:
        RuntimeError: a call failed.
    """
    ratios = [_ratio(one, other) for _ in range(REPEATS + 1)]
    # The first one warms up.
    return float(np.median(ratios[1:]))


def _ratio(one: Target, other: Target) -> float:
    alone_s = sum(
        _gap_s(serve(t.engine, [_prompt(t)], WRITTEN_TOKENS).times_ns[0]) for t in (one, other)
    )
    together = [begin(t.engine, [_prompt(t)], WRITTEN_TOKENS) for t in (one, other)]
    for heard in together:
        heard.wait()
    first, second = (heard.times_ns[0] for heard in together)
    joint = [ns for ns in first if second[0] <= ns <= second[-1]]
    return _gap_s(joint) / alone_s


def _prompt(target: Target) -> list[int]:
    return target.draw(min(CONTEXT_TOKENS, target.max_prompt_tokens))


def _gap_s(times_ns: Sequence[int]) -> float:
    return float(np.median(np.diff(times_ns))) / 1e9
