"""Limits of a replica, as engines have them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Limits:
    """Of one replica, with the names and defaults of vLLM v1's engine arguments.

    Attributes:
        blocks: KV blocks; None for no limit and no prefix cache.
        async_scheduling: an iteration is made up when the one before it begins, so a call that
            comes while an iteration runs is in the next but one.
        shares_headers: the prefix cache has headers that other requests left.
        long_prefill_token_threshold: tokens of one call in an iteration; None for the budget.
        enable_chunked_prefill: without, a prompt waits until an iteration has room for all of it.
        prefill_first: an iteration that computes prompts decodes nothing, as in SGLang.
    """

    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 256
    blocks: int | None = None
    block_tokens: int = 16
    prefix_caching: bool = True
    scheduling: Literal["fcfs", "priority"] = "fcfs"
    async_scheduling: bool = False
    shares_headers: bool = True
    long_prefill_token_threshold: int | None = None
    enable_chunked_prefill: bool = True
    prefill_first: bool = False

    @property
    def max_chunk(self) -> int:
        """The most tokens of one call in an iteration."""
        threshold = self.long_prefill_token_threshold or self.max_num_batched_tokens
        return min(threshold, self.max_num_batched_tokens)

    @property
    def longest_call(self) -> float:
        """The most tokens, with its answer, of a call that can be computed."""
        kv = math.inf if self.blocks is None else self.blocks * self.block_tokens
        return kv if self.enable_chunked_prefill else min(kv, self.max_chunk)
