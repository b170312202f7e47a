"""What an engine's prefix cache was found to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PrefixCache:
    """How much of a prompt that begins as an earlier text is computed again.

    Attributes:
        block_tokens: hits are multiples of it; 1 where every common token counts.
        recomputed_tokens: at a prompt's end, which are run again though all of it is known.
        keeps_generated: whether texts that the engine wrote are found too.
        kept_texts: how many other texts may come between and it is still found; at least so many.
        is_reported: the engine said so; otherwise it was concluded from times.
        shares_headers: a measured request finds the headers that others left; not where requests
            are kept apart by vLLM's ``cache_salt``.
    """

    block_tokens: int
    recomputed_tokens: int
    keeps_generated: bool
    kept_texts: int
    is_reported: bool = True
    shares_headers: bool = True

    def __str__(self) -> str:
        block = "every token" if self.block_tokens == 1 else f"blocks of {self.block_tokens}"
        generated = "also of generated text" if self.keeps_generated else "of prompts only"
        how = "" if self.is_reported else ", concluded from times"
        headers = "" if self.shares_headers else ", headers once a request (cache_salt)"
        return f"{block}, {generated}, {self.kept_texts} texts or more{headers}{how}"
