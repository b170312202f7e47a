"""Random numbers of sampled tokens, each a function of a seed and of where its token stands.

They depend neither on what else an engine does at the time nor on how a text is cut into calls.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

SEED_BITS = 31
DRAW_BITS = 63


@dataclass(frozen=True)
class TextPosition:
    """Where a token stands: in which text, and how many of the text's tokens are before it."""

    text: str
    position: int


def draw_seed(seed: int, place: TextPosition) -> int:
    """A seed for what is drawn at ``place``, as if drawn anew for each; 0 … 2⁶³ - 1."""
    return _bits(seed, place, DRAW_BITS)


def call_seed(seed: int, place: TextPosition) -> int:
    """A seed for a server's call whose first token stands at ``place``; 0 … 2³¹ - 1."""
    return _bits(seed, place, SEED_BITS)


def _bits(seed: int, place: TextPosition, count: int) -> int:
    name = f"{seed} {place.position} {place.text}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - count)
