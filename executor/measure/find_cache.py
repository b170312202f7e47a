"""Finds out what an engine's prefix cache does, by asking for texts that it may know.

How much of a prompt was found is what the engine reports, or else what its time to the first token
says: the tokens that it did not compute again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from executor.measure.call_recorder import serve
from executor.measure.measurements import Target, known_tokens, ttft_s
from profiles.latency.prefix_cache import PrefixCache

# Odd ones, so that their whole blocks have no other common divisor.
SHARED_TOKENS = (21, 37, 50, 75, 91, 110, 130, 150, 177, 203, 257, 300, 411, 530, 777, 1100)
LONGEST_PROMPT = 2048
# Blocks that times are tried with, and how often a time is taken.
BLOCKS = (1, 16, 32, 64, 128, 256)
REPEATS = 5
# What a block may leave unexplained of the hits' variance to be believed, and from how many hits:
# of a few any block explains all.
UNEXPLAINED = 0.3
LEAST_HITS = 6
MOST_TEXTS = 16
# Beyond what two prompts share, where the engine says how much of it was cached.
TAIL_TOKENS = 16
LEAST_WRITTEN = 8

# Prepares the cache and gives the prompt whose hits count.
Scene = Callable[[], list[int]]


class Gauge(Protocol):
    """How many tokens of a prompt an engine found in its cache."""

    def hits(self, scene: Scene) -> float: ...

    def block(self, found: Mapping[int, float]) -> int:
        """From hits by the number of tokens that were known; 0 if nothing was found."""
        ...


@dataclass(frozen=True)
class ReportedHits:
    target: Target

    def hits(self, scene: Scene) -> float:
        return known_tokens(self.target, scene())

    def block(self, found: Mapping[int, float]) -> int:
        return math.gcd(*map(int, found.values()))


@dataclass(frozen=True)
class TimedHits:
    """A cold prompt's first token comes after ``start_s``, and ``token_s`` for each token."""

    target: Target
    start_s: float
    token_s: float

    @staticmethod
    def of(target: Target, longest: int) -> TimedHits:
        """The line through two lengths."""
        short = max(1, longest // 4)
        short_s, long_s = (
            _ttft_s(target, partial(target.draw, tokens)) for tokens in (short, longest)
        )
        slope = max(0.0, long_s - short_s) / max(1, longest - short)
        return TimedHits(target, short_s - slope * short, slope)

    def hits(self, scene: Scene) -> float:
        if not self.token_s:
            return 0.0
        return float(np.median([self._hits_of(scene()) for _ in range(REPEATS)]))

    def _hits_of(self, prompt: list[int]) -> float:
        computed_s = ttft_s(serve(self.target.engine, [prompt], 1)) - self.start_s
        return len(prompt) - computed_s / self.token_s

    def block(self, found: Mapping[int, float]) -> int:
        """The block whose multiples explain the hits best, if any does.

        Early tokens of a prompt cost less than later ones, so the hits bend.
        """
        if len(found) < LEAST_HITS:
            return 0
        known, hits = np.array(list(found)), np.array(list(found.values()))
        left = {block: _left(known // block * block, hits) for block in BLOCKS}
        best = min(left, key=left.__getitem__)
        return best if left[best] < UNEXPLAINED * float(np.mean(hits**2)) else 0


def _left(tokens: NDArray[np.int64], hits: NDArray[np.float64]) -> float:
    """Variance that a parabola through 0 does not explain."""
    powers = np.stack([tokens, tokens**2], axis=1).astype(float)
    solution = np.linalg.lstsq(powers, hits)[0]
    return float(np.mean((hits - powers @ solution) ** 2))


def find_cache(target: Target, longest: int = LONGEST_PROMPT) -> PrefixCache | None:
    """None if nothing was ever found in a cache.

    Args:
        longest: no prompt is longer.

    Raises:
        RuntimeError: a call failed.
    """
    longest = min(target.max_prompt_tokens, longest)
    gauge = ReportedHits(target) if target.reports_cached else TimedHits.of(target, longest)
    shared = [tokens for tokens in SHARED_TOKENS if tokens < longest]
    beyond = TAIL_TOKENS if target.reports_cached else longest
    found = {n: gauge.hits(partial(_shared, target, min(longest, n + beyond), n)) for n in shared}
    block = gauge.block(found) if found else 0
    if not block or 2 * block >= longest:
        return None
    return PrefixCache(
        block,
        _recomputed(target, gauge, block, longest),
        _keeps_generated(target, gauge, block, longest),
        _kept_texts(target, gauge, block, longest),
        target.reports_cached,
        target.shares_headers,
    )


def _shared(target: Target, length: int, known: int) -> list[int]:
    """A prompt that begins as the one before it, with just so many tokens."""
    first, other = target.draw(length), target.draw(length)
    while other[known] == first[known]:
        other = target.draw(length)
    _ask(target, first)
    return first[:known] + other[known:]


def _recomputed(target: Target, gauge: Gauge, block: int, longest: int) -> int:
    """Of a prompt of whole blocks that was asked just before; of times a block is assumed.

    A server's tokens may be smaller than those of the prompt; then nothing seems to be.
    """
    if not target.reports_cached:
        return block
    length = (longest - 1) // block * block

    def again() -> list[int]:
        prompt = target.draw(length)
        _ask(target, prompt)
        return prompt

    return max(0, length - round(gauge.hits(again)))


def _keeps_generated(target: Target, gauge: Gauge, block: int, longest: int) -> bool:
    """Whether more is found of a prompt that goes on as the engine did than as it did not."""
    written = max(2 * block + LEAST_WRITTEN, longest // 4)
    asked = (longest - written - 1) // block * block
    if asked <= 0:
        return False

    def continued(is_own: bool) -> list[int]:
        prompt = target.draw(asked)
        answer = serve(target.engine, [prompt], written).tokens[0]
        went_on = answer if is_own else target.draw(len(answer))
        return [*prompt, *went_on, *target.draw(longest - asked - len(answer))]

    own, other = (gauge.hits(partial(continued, is_own)) for is_own in (True, False))
    return own - other > written / 4


def _kept_texts(target: Target, gauge: Gauge, block: int, longest: int) -> int:
    """How many other texts may come between, doubled while it works."""
    length = min(longest, max(2 * block + 1, SHARED_TOKENS[1]))

    def after(others: int) -> list[int]:
        prompt = target.draw(length)
        for text in (prompt, *(target.draw(length) for _ in range(others))):
            _ask(target, text)
        return prompt

    kept, others = 0, 1
    while others <= MOST_TEXTS and gauge.hits(partial(after, others)) >= length / 2:
        kept, others = others, 2 * others
    return kept


def _ttft_s(target: Target, scene: Scene) -> float:
    return float(np.median([ttft_s(serve(target.engine, [scene()], 1)) for _ in range(REPEATS)]))


def _ask(target: Target, prompt: list[int]) -> None:
    serve(target.engine, [prompt], 1)
