"""Block hashes: equal where all tokens up to a block's end are, however the text is cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from simulator.core.content import chain_hashes

# (text, first token, end); few texts and short ones, so that equal beginnings are frequent.
RUNS = some.lists(
    some.tuples(some.integers(1, 3), some.integers(0, 4), some.integers(0, 6)).map(
        lambda run: (run[0], run[1], run[1] + run[2])
    ),
    max_size=6,
)
Run = tuple[int, int, int]


def tokens_of(runs: list[Run]) -> list[tuple[int, int]]:
    return [(text, token) for text, start, stop in runs for token in range(start, stop)]


def hashes_of(runs: list[Run], block_tokens: int) -> list[int]:
    rows = np.asarray(runs, dtype=np.int64).reshape(-1, 3)
    return [int(one) for one in chain_hashes(rows, block_tokens)]


@given(some.lists(RUNS, min_size=2, max_size=8), some.integers(1, 5))
def test_equal_where_everything_before_is(texts: list[list[Run]], block_tokens: int) -> None:
    by_tokens: dict[tuple[tuple[int, int], ...], int] = {}
    for runs in texts:
        tokens, hashes = tokens_of(runs), hashes_of(runs, block_tokens)
        assert len(hashes) == len(tokens) // block_tokens
        for block, found in enumerate(hashes):
            key = tuple(tokens[: (block + 1) * block_tokens])
            assert by_tokens.setdefault(key, found) == found
            assert found > 0
    assert len({*by_tokens.values()}) == len(by_tokens)


@given(RUNS, some.integers(1, 5))
def test_a_text_may_be_cut_anywhere(runs: list[Run], block_tokens: int) -> None:
    one_by_one = [(text, token, token + 1) for text, token in tokens_of(runs)]
    assert hashes_of(one_by_one, block_tokens) == hashes_of(runs, block_tokens)
