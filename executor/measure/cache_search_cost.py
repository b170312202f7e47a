"""What it takes to find out about a prefix cache, and so how long its prompts may be.

    seconds = calls · call_s + prompt tokens · token_s + written tokens · write_s

with what a few short calls take, and with all that ``executor.measure.find_cache`` asks for, of
which a cache would spare some.
"""

from __future__ import annotations

from dataclasses import dataclass

from executor.measure.call_recorder import serve
from executor.measure.find_cache import (
    LEAST_HITS,
    LONGEST_PROMPT,
    MOST_TEXTS,
    REPEATS,
    SHARED_TOKENS,
    TAIL_TOKENS,
)
from executor.measure.measurements import Target

# Prompts of the short calls, each at most so many times as long as the one before, and what one of
# them writes.
SHORTEST, LONGER, WRITTEN = 16, 4, 9
# Of the time for the whole search, so much may go into one of them.
PROBE_SHARE = 1 / 16
LEAST_PROMPT = 32


@dataclass(frozen=True)
class CallCosts:
    """Seconds of a call besides its tokens, of a prompt token, and of a written one."""

    call_s: float
    token_s: float
    write_s: float

    def seconds(self, work: Work) -> float:
        tokens_s = work.prompt_tokens * self.token_s + work.written_tokens * self.write_s
        return work.calls * self.call_s + tokens_s


@dataclass(frozen=True)
class Work:
    calls: int
    prompt_tokens: int
    written_tokens: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.written_tokens + other.written_tokens,
        )

    def repeated(self, count: int) -> Work:
        return Work(count * self.calls, count * self.prompt_tokens, count * self.written_tokens)


def longest_within(target: Target, seconds: float) -> int:
    """Of the longest prompt with which ``find_cache`` is over within ``seconds``; 0 if of none.

    Raises:
        RuntimeError: a call failed.
    """
    limit = min(target.max_prompt_tokens, LONGEST_PROMPT)
    costs = _call_costs(target, limit, PROBE_SHARE * seconds)
    sizes = [limit, *(2**n for n in range(10, 4, -1) if LEAST_PROMPT <= 2**n < limit)]
    tell = (size for size in sizes if target.reports_cached or len(_levels(size)) >= LEAST_HITS)
    works = ((size, _search(size, target.reports_cached)) for size in tell)
    return next((size for size, work in works if costs.seconds(work) <= seconds), 0)


def _call_costs(target: Target, limit: int, most_s: float) -> CallCosts:
    """By calls with longer and longer prompts, as long as the next one takes ``most_s`` at most."""
    shortest = longest = min(SHORTEST, limit)
    short_s = long_s = _call_s(target, shortest, 1)
    while longest * LONGER < limit and long_s * LONGER <= most_s:
        longest *= LONGER
        long_s = _call_s(target, longest, 1)
    write_s = max(0.0, _call_s(target, shortest, WRITTEN) - short_s) / (WRITTEN - 1)
    if longest == shortest:
        return CallCosts(0.0, short_s / shortest, write_s)
    token_s = max(0.0, long_s - short_s) / (longest - shortest)
    return CallCosts(max(0.0, short_s - shortest * token_s), token_s, write_s)


def _call_s(target: Target, tokens: int, written: int) -> float:
    """From submission to the end; the first call does not count."""
    serve(target.engine, [target.draw(tokens)], written)
    began_ns = target.now_ns()
    serve(target.engine, [target.draw(tokens)], written)
    return (target.now_ns() - began_ns) / 1e9


def _levels(longest: int) -> list[int]:
    return [tokens for tokens in SHARED_TOKENS if tokens < longest]


def _search(longest: int, reports_cached: bool) -> Work:
    """All that ``find_cache`` asks for, at most."""
    continued = Work(2, 2 * longest, longest // 4).repeated(2)
    texts, others = sum(2 + 2**n for n in range(MOST_TEXTS.bit_length())), SHARED_TOKENS[1]
    after = continued + Work(texts, texts * others)
    if reports_cached:
        tokens = sum(2 * (level + TAIL_TOKENS) for level in _levels(longest))
        return Work(2 * len(_levels(longest)), tokens) + Work(2, 2 * longest) + after
    pairs = len(_levels(longest)) + 1  # One more for the line through two lengths.
    return (Work(2 * pairs, 2 * pairs * longest) + after).repeated(REPEATS)
