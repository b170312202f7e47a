"""What one call costs that is alone on its replica: tables by its tokens.

A prompt of p tokens, c of them cached, is computed in chunks of at most ``max_chunk``; the last
chunk gives the first output, and every further output is one iteration with a token of context
more. So output n is there after

    prefill(c, p) + decode_ps[p + n − 1] − decode_ps[p]

where ``decode_ps`` sums decode iterations over contexts of 1, 2, … tokens. All are sums of the
integers that ``simulator.core.iterations`` adds, so nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.core.compiling import compiled
from simulator.core.cost import Cost, decode_sum_ps, prefilling_ps
from simulator.des.batching import BatchingSetup

# An int64 array; checkers cannot follow what numba makes of its elements.
Ints = Any


@dataclass(frozen=True)
class AloneEngine:
    """An engine of which a call has a replica for itself.

    Attributes:
        prefill_ps: by prompt tokens, nothing cached.
        decode_ps: by tokens of context: sum of the iterations from 1 token up to there.
        kv_tokens: what a replica has room for; None: no limit.
        block_tokens: of its prefix cache; 0: it has none.
    """

    setup: BatchingSetup
    prefill_ps: Ints
    decode_ps: Ints
    kv_tokens: int | None
    block_tokens: int

    @staticmethod
    def open(setup: BatchingSetup, tokens: int) -> AloneEngine:
        """For texts of up to so many tokens."""
        limits = setup.limits
        return AloneEngine(
            setup,
            prefill_table_ps(setup.cost, limits.max_chunk, tokens),
            decode_table_ps(setup.cost, tokens),
            None if limits.blocks is None else limits.blocks * limits.block_tokens,
            limits.block_tokens if limits.blocks is not None and limits.prefix_caching else 0,
        )

    def cached(self, tokens: Ints) -> Ints:
        """How many of so many leading tokens that are known the cache gives: whole blocks."""
        if not self.block_tokens:
            return np.zeros(1, dtype=np.int64)
        return tokens // self.block_tokens * self.block_tokens

    def first_ps(self, cached: Ints, prompts: Ints) -> Ints:
        """From the start of calls to their first outputs."""
        if not self.block_tokens:
            return self.prefill_ps[prompts] + self.setup.call_ps
        limit = self.setup.limits.max_chunk
        return prefills_ps(self.setup.cost, limit, cached, prompts) + self.setup.call_ps


def prefill_table_ps(cost: Cost, max_chunk: int, tokens: int) -> Ints:
    """By prompt tokens from 0 to ``tokens``: its prefill, nothing cached."""
    table = np.zeros(tokens + 1, dtype=np.int64)
    _fill_prefills(cost, max_chunk, table)
    return table


@compiled
def _fill_prefills(cost: Cost, max_chunk: int, table: Ints) -> None:
    for prompt in range(1, len(table)):
        before = (prompt - 1) // max_chunk * max_chunk
        table[prompt] = table[before] + _chunk_ps(cost, before, prompt - before)


def prefills_ps(cost: Cost, max_chunk: int, cached: Ints, prompts: Ints) -> Ints:
    """By call: prefill of its prompt beyond the tokens that are cached."""
    found = np.zeros(len(prompts), dtype=np.int64)
    _add_prefills(cost, max_chunk, cached, prompts, found)
    return found


@compiled
def _add_prefills(cost: Cost, max_chunk: int, cached: Ints, prompts: Ints, found: Ints) -> None:
    for call in range(len(prompts)):
        before = cached[call]
        while before < prompts[call]:
            chunk = min(prompts[call] - before, max_chunk)
            found[call] += _chunk_ps(cost, before, chunk)
            before += chunk


@compiled
def _chunk_ps(cost: Cost, before: int, chunk: int) -> int:
    """An iteration that computes ``chunk`` tokens after ``before`` others, and nothing else."""
    return prefilling_ps(cost, 1, chunk, chunk * (2 * before + chunk), 0, 0)


def decode_table_ps(cost: Cost, tokens: int) -> Ints:
    """By context from 0 to ``tokens``: decode iterations with contexts of 1 to so many tokens."""
    table = np.zeros(tokens + 1, dtype=np.int64)
    _fill_decodes(cost, table)
    return table


@compiled
def _fill_decodes(cost: Cost, table: Ints) -> None:
    for context in range(1, len(table)):
        table[context] = table[context - 1] + decode_sum_ps(cost, 1, context, 1)
