"""Where the items of simulated texts begin, and which branches so never start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from staircase.pipeline import Pipeline


def drawn_starts(rng: np.random.Generator, count: int, tokens: int, sigma: float) -> list[int]:
    """Tokens before each of ``count`` items that share a text of ``tokens``.

    Their shares are lognormal with ``sigma``. No text has more items than tokens.
    """
    shares = np.exp(sigma * rng.standard_normal(min(count, tokens)))
    before = np.cumsum(shares) - shares
    return [int(start) for start in np.floor(before / max(shares.sum(), 1e-300) * tokens)]


def without_unborn(
    pipeline: Pipeline, written: Mapping[str, int], items: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """What each agent would write, which is nothing for branches whose items never come."""
    found = dict(written)
    for agent in pipeline.order:
        if agent.fork:
            source = pipeline[agent.fork.source]
            whole = min(found[source.name], source.max_tokens)
            if sum(start < whole for start in items[source.name]) < agent.fork.item:
                found[agent.name] = 0
    return found
