"""Where the items of simulated texts begin, and which branches so never start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from staircase.pipeline import Pipeline


def drawn_starts(
    rng: np.random.Generator, count: int, tokens: int, sigma: float, before: int = 0
) -> list[int]:
    """Tokens before each of ``count`` items that share a text of ``tokens`` after the first
    ``before``.

    Their shares are lognormal with ``sigma``. No text has more items than tokens.
    """
    shared = max(tokens - before, 0)
    shares = np.exp(sigma * rng.standard_normal(min(count, shared)))
    passed = np.cumsum(shares) - shares
    starts = np.floor(passed / max(shares.sum(), 1e-300) * shared)
    return [before + int(start) for start in starts]


def without_unborn(
    pipeline: Pipeline, written: Mapping[str, int], items: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """What each agent would write, which is nothing for branches that never start."""
    found = dict(written)
    for agent in pipeline.order:
        fork = agent.fork
        if fork and fork.otherwise == "never" and fork.source in items:
            source = pipeline[fork.source]
            whole = min(found[source.name], source.max_tokens)
            if sum(start < whole for start in items[source.name]) < fork.item:
                found[agent.name] = 0
    return found
