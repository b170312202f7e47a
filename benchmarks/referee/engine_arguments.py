"""Arguments of real engines, by their own names, as those of a simulated one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Protocol

from pydantic import Field

from staircase.spec.strict import Count, Strict, Tokens

Share = Annotated[float, Field(gt=0, le=1)]
# vLLM makes up an iteration while the one before it runs from here on, unless told otherwise.
ASYNC_SINCE = (0, 14)


class Arguments(Protocol):
    """What a recorded engine was told.

    Attributes:
        blocks: KV blocks; None where it was not told how many there are.
        memory_share: of the device's memory that weights and KV blocks may take.
    """

    @property
    def blocks(self) -> int | None: ...

    @property
    def block_tokens(self) -> int: ...

    @property
    def prefix_caching(self) -> bool: ...

    @property
    def memory_share(self) -> float: ...

    def limits(self, version: str) -> dict[str, Any]:
        """By keys of ``SimulatedSpec``, without blocks."""
        ...


class VllmArguments(Strict):
    """``num_gpu_blocks`` is what vLLM tells when it starts: its tokens of KV cache over
    ``block_size``. ``async_scheduling`` is the version's default."""

    max_num_seqs: Count
    max_num_batched_tokens: Count
    num_gpu_blocks: Count | None = None
    block_size: Tokens = 16
    enable_prefix_caching: bool = True
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: Count | None = None
    async_scheduling: bool | None = None
    gpu_memory_utilization: Share = 0.9

    @property
    def blocks(self) -> int | None:
        return self.num_gpu_blocks

    @property
    def block_tokens(self) -> int:
        return self.block_size

    @property
    def prefix_caching(self) -> bool:
        return self.enable_prefix_caching

    @property
    def memory_share(self) -> float:
        return self.gpu_memory_utilization

    def limits(self, version: str) -> dict[str, Any]:
        is_async = self.async_scheduling
        return {
            "max_num_seqs": self.max_num_seqs,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "enable_chunked_prefill": self.enable_chunked_prefill,
            "long_prefill_token_threshold": self.long_prefill_token_threshold,
            "async_scheduling": is_async_by_default(version) if is_async is None else is_async,
        }


def is_async_by_default(version: str) -> bool:
    """Of a vLLM of this version; one that has no number is taken to be a new one."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return found is None or (int(found[1]), int(found[2])) >= ASYNC_SINCE


class SglangArguments(Strict):
    """``max_total_tokens`` is what SGLang tells when it starts: tokens of its KV cache."""

    max_running_requests: Count
    chunked_prefill_size: Count
    max_total_tokens: Count | None = None
    page_size: Tokens = 1
    disable_radix_cache: bool = False
    enable_mixed_chunk: bool = False
    mem_fraction_static: Share = 0.9

    @property
    def blocks(self) -> int | None:
        return self.max_total_tokens and self.max_total_tokens // self.page_size

    @property
    def block_tokens(self) -> int:
        return self.page_size

    @property
    def prefix_caching(self) -> bool:
        return not self.disable_radix_cache

    @property
    def memory_share(self) -> float:
        return self.mem_fraction_static

    def limits(self, version: str) -> dict[str, Any]:
        return {
            "max_num_seqs": self.max_running_requests,
            "max_num_batched_tokens": self.chunked_prefill_size,
            "prefill_first": not self.enable_mixed_chunk,
        }


class TensorRtArguments(Strict):
    """``max_tokens`` is of its KV cache, in tokens; what it may take of the memory is 0.9."""

    max_batch_size: Count
    max_num_tokens: Count
    max_tokens: Count | None = None
    tokens_per_block: Tokens = 32
    enable_block_reuse: bool = True
    enable_chunked_prefill: bool = False

    @property
    def blocks(self) -> int | None:
        return self.max_tokens and self.max_tokens // self.tokens_per_block

    @property
    def block_tokens(self) -> int:
        return self.tokens_per_block

    @property
    def prefix_caching(self) -> bool:
        return self.enable_block_reuse

    @property
    def memory_share(self) -> float:
        return 0.9

    def limits(self, version: str) -> dict[str, Any]:
        return {
            "max_num_seqs": self.max_batch_size,
            "max_num_batched_tokens": self.max_num_tokens,
            "enable_chunked_prefill": self.enable_chunked_prefill,
        }


ENGINES: Mapping[str, type[VllmArguments | SglangArguments | TensorRtArguments]] = {
    "vllm": VllmArguments,
    "sglang": SglangArguments,
    "tensorrt-llm": TensorRtArguments,
}
