"""What may be measured of an engine: sizes of prefills, decodes, and both in one iteration."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import product

# Tokens that are written when decoding is measured.
DECODE_RUN = 16
# Passes of several tokens that are timed.
WIDE_RUN = 8
SIZES = sorted({*(2**n for n in range(20)), *(3 * 2**n for n in range(3, 18))})
LEAST_CONTEXT = 8
# Up to here the coarse grid doubles sizes, so that there are enough for a fit.
SHORT_TOKENS = 256


@dataclass(frozen=True, order=True)
class Prefill:
    new_tokens: int
    cached_tokens: int


@dataclass(frozen=True, order=True)
class Decode:
    """``batch`` calls that decode, each after a prompt of ``context_tokens``."""

    batch: int
    context_tokens: int

    @property
    def all_context_tokens(self) -> int:
        """Of all calls, in the middle of what they write."""
        return self.batch * (self.context_tokens + DECODE_RUN // 2)


@dataclass(frozen=True, order=True)
class Mixed:
    """A prompt of ``new_tokens`` in an iteration of such calls."""

    new_tokens: int
    batch: int
    context_tokens: int

    @property
    def all_context_tokens(self) -> int:
        """Of the calls that decode, where the prompt comes soon after they began."""
        return self.batch * self.context_tokens


@dataclass(frozen=True, order=True)
class Wide:
    """Such calls, of each of which a pass computes ``width`` tokens, as if they were guessed."""

    width: int
    batch: int
    context_tokens: int

    @property
    def all_context_tokens(self) -> int:
        """Of all calls, in the middle of what they write."""
        return self.batch * (self.context_tokens + WIDE_RUN // 2)


GridPoint = Prefill | Decode | Mixed | Wide


@dataclass(frozen=True)
class Region:
    """The places of an engine.

    Attributes:
        block_tokens: of its prefix cache; None if prompts are never cached.
        mixed_tokens: the longest prompt that is prefilled beside decodes; 0: none is.
        widest_pass: tokens of a pass with a guess of the longest; 1: nothing is guessed.
    """

    max_prompt_tokens: int
    max_batch: int = 1
    block_tokens: int | None = None
    mixed_tokens: int = 0
    widest_pass: int = 1

    def coarse(self) -> list[GridPoint]:
        """Few places that span the region."""
        most = self.max_prompt_tokens
        ratio = 4 if most > SHORT_TOKENS else 2
        new = [ratio**n for n in range(20) if ratio**n < most] + [most]
        cached = self._cached(most // 8, most // 2)
        return [
            *self._prefills(new, cached),
            *self._decodes({1, 2, self.max_batch // 4, self.max_batch}, [most // 8, most // 2]),
            *self._mixed(),
            *self._wide(),
        ]

    @property
    def telling_batches(self) -> list[Decode]:
        """The cheapest decodes that tell what a batch costs from what context does."""
        short = min(LEAST_CONTEXT, max(1, self.max_prompt_tokens - DECODE_RUN))
        return [Decode(1, short), Decode(self.max_batch, short)]

    def apart(self, one: GridPoint, other: GridPoint) -> float:
        """By ratios of sizes, each as a share of the ratio that the coarse grid spans.

        A batch goes to 8 where a context goes to 800: what it costs is as hard to guess.
        """
        sizes = zip(*(astuple(p) for p in self.coarse() if type(p) is type(one)), strict=True)
        spans = [max(_doublings(min(some), max(some)), 1.0) for some in sizes]
        pairs = zip(astuple(one), astuple(other), spans, strict=True)
        return sum(_doublings(a, b) / span for a, b, span in pairs)

    def near(self, place: GridPoint, taken: Collection[GridPoint], count: int) -> list[GridPoint]:
        """The ``count`` places nearest to ``place`` that are not ``taken``, by ratios of sizes."""
        places: Sequence[GridPoint] = (
            self._prefills(SIZES, self._cached(*SIZES))
            if isinstance(place, Prefill)
            else self._decodes(SIZES, SIZES)
        )
        free: list[GridPoint] = [other for other in places if other not in taken]
        return sorted(free, key=lambda other: distance(place, other))[:count]

    def _cached(self, *wanted: int) -> list[int]:
        """Sizes that the prefix cache can hold, and 0."""
        block = self.block_tokens
        return sorted({0, *(size // block * block for size in wanted)}) if block else [0]

    def _prefills(self, new: Iterable[int], cached: Iterable[int]) -> list[Prefill]:
        pairs = product(new, cached)
        return [Prefill(n, k) for n, k in pairs if n + k <= self.max_prompt_tokens]

    def _decodes(self, batches: Iterable[int], contexts: Iterable[int]) -> list[Decode]:
        longest = max(1, self.max_prompt_tokens - DECODE_RUN)
        lengths = {min(LEAST_CONTEXT, longest), longest, *(c for c in contexts if 0 < c < longest)}
        sizes = {batch for batch in batches if 0 < batch <= self.max_batch}
        return [Decode(b, c) for b, c in product(sorted(sizes), sorted(lengths))]

    def _mixed(self) -> list[Mixed]:
        most, others = self.mixed_tokens, self.max_batch - 1
        if not most or not others:
            return []
        new, context = sorted({max(1, most // 16), max(1, most // 2)}), self.max_prompt_tokens // 4
        return [Mixed(n, b, context) for n, b in product(new, sorted({1, others}))]

    def _wide(self) -> list[Wide]:
        """Most passes have a guess of the longest, or none."""
        most, context = self.widest_pass, max(1, self.max_prompt_tokens // 4)
        widths = [width for width in sorted({2, (most + 1) // 2, most}) if 1 < width <= most]
        return [Wide(w, b, context) for w, b in product(widths, sorted({1, self.max_batch}))]


def distance(one: GridPoint, other: GridPoint) -> float:
    """By ratios of sizes, in doublings."""
    pairs = zip(astuple(one), astuple(other), strict=True)
    return sum(_doublings(a, b) for a, b in pairs)


def _doublings(one: int, other: int) -> float:
    return abs(math.log2((1 + one) / (1 + other)))
