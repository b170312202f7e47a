"""Chain hashes of a call's text: equal hashes mean equal text from the very beginning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiling import compiled
from simulator.engine import SimulatedCall
from staircase.shared_texts import is_common

Ints = NDArray[np.int64]


class Contents:
    """Gives texts numbers: some are the same in every request, all others belong to one.

    Without ``shares_headers`` those belong to one request too.
    """

    def __init__(self, shares_headers: bool = True) -> None:
        self._shares_headers = shares_headers
        self._numbers: dict[tuple[int, str], int] = {}

    def hashes(self, simulated: SimulatedCall, block_tokens: int) -> Ints:
        """One hash for each full block of the prompt and of what the call will write."""
        segments = simulated.text(simulated.goal_tokens).segments
        rows = [(self._number(simulated.request, s.source), s.start, s.stop) for s in segments]
        return chain_hashes(np.asarray(rows, dtype=np.int64).reshape(-1, 3), block_tokens)

    def _number(self, request: int, source: str) -> int:
        is_shared = self._shares_headers and is_common(source)
        scope = -1 if is_shared else request
        return self._numbers.setdefault((scope, source), len(self._numbers) + 1)


def chain_hashes(rows: Ints, block_tokens: int) -> Ints:
    """Rows are (text number, first token, end)."""
    hashes = np.zeros(int(np.sum(rows[:, 2] - rows[:, 1])) // block_tokens, dtype=np.int64)
    fill_hashes(rows, 0, block_tokens, hashes)
    return hashes


@compiled
def fill_hashes(rows: Ints, base: int, block_tokens: int, hashes: Ints) -> None:
    """Chain hashes of rows of (text, first token, end) go into ``hashes``.

    ``base`` is added to texts with positive numbers; the others are the same everywhere. The mixing
    is that of splitmix64.
    """
    chain, count = np.uint64(0), 0
    for row in range(len(rows)):
        text = rows[row, 0] + base if rows[row, 0] > 0 else -rows[row, 0]
        for token in range(rows[row, 1], rows[row, 2]):
            chain = chain * np.uint64(0x9E3779B97F4A7C15) + np.uint64(text << 32 | token)
            chain = (chain ^ (chain >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            chain = (chain ^ (chain >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            chain = chain ^ (chain >> np.uint64(31))
            count += 1
            if count % block_tokens == 0:
                # 0 stands for "not cached" in the block tables.
                hashes[count // block_tokens - 1] = max(
                    np.int64(1), np.int64(chain >> np.uint64(1))
                )
