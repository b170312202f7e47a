"""Chain hashes of a call's text: equal hashes mean equal text from the very beginning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.core.compiling import compiled
from simulator.engine import SimulatedCall
from staircase.shared_texts import is_common

Ints = NDArray[np.int64]

NOTHING_MORE = -1


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
    fill_hashes(rows, 0, len(rows), NOTHING_MORE, 0, block_tokens, hashes)
    return hashes


@compiled
def fill_hashes(
    rows: Ints, begin: int, count: int, own: int, base: int, block_tokens: int, hashes: Ints
) -> None:
    """Chain hashes of rows of (text, first token, end) go into ``hashes``.

    They are ``count`` rows from ``begin`` on, and two from ``own`` on unless that is NOTHING_MORE.
    ``base`` is added to texts with positive numbers; the others are the same everywhere. What is
    hashed are the runs of tokens of which a block consists, each as long as can be, so that equal
    blocks have equal hashes however their rows are cut.
    """
    chain, block, room = np.uint64(0), 0, block_tokens
    text, first, length = 0, 0, 0
    for place in range(count if own == NOTHING_MORE else count + 2):
        row = begin + place if place < count else own + place - count
        number = rows[row, 0] + base if rows[row, 0] > 0 else -rows[row, 0]
        start = rows[row, 1]
        while start < rows[row, 2]:
            taken = min(room, rows[row, 2] - start)
            if length > 0 and number == text and start == first + length:
                length += taken
            else:
                if length > 0:
                    chain = _chained(chain, text, first, length)
                text, first, length = number, start, taken
            start += taken
            room -= taken
            if room == 0:
                chain = _chained(chain, text, first, length)
                # 0 stands for "not cached" in the block tables.
                hashes[block] = max(np.int64(1), np.int64(chain >> np.uint64(1)))
                block, room, length = block + 1, block_tokens, 0


@compiled
def _chained(chain: np.uint64, text: int, first: int, length: int) -> np.uint64:
    """The hash after a run of tokens; the mixing is that of splitmix64."""
    chain = chain * np.uint64(0x9E3779B97F4A7C15) + np.uint64(text << 32 | first)
    chain = chain + np.uint64(length) * np.uint64(0xD6E8FEB86659FD93)
    chain = (chain ^ (chain >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    chain = (chain ^ (chain >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return chain ^ (chain >> np.uint64(31))
