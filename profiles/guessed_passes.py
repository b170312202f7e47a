"""What passes of guessed texts computed and gave, and what a token takes by that.

A pass computes w tokens: the one that is known, and those that are guessed to follow it. It gives k
of them, 1 <= k <= w: those guesses that were right, and the token after them. The first pass of a
text is the one that ends its prefill, so its tokens cost no pass of their own. With r(w) for what a
pass takes over one of a single token, a token at position p of a text takes, of a decode,

    0 where the first pass gave it          r(w) / k where another did

and its mean over texts is what a simulated engine, which gives one token at a time, counts of p.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from profiles.surface import Floats
from staircase.metrics.request_metrics import Summary, summarize_pooled

# Positions are told apart by so many parts of all tokens.
PARTS = 8
# Parts have so many tokens or more.
LEAST_TOKENS = 64

# What a pass of so many tokens takes, over one of a single token.
Ratio = Callable[[int], float]


class Pass(NamedTuple):
    """So many tokens ``computed``, of which so many were ``given``."""

    computed: int
    given: int


@dataclass(frozen=True)
class TextPace:
    """What a token takes of a decode, by its position in the text.

    Attributes:
        starts: of each part but the first, the position at which it begins, rising.
        factors: of each part.
    """

    starts: tuple[int, ...] = ()
    factors: tuple[float, ...] = (1.0,)

    def at(self, position: int) -> float:
        return self.factors[bisect_right(self.starts, position)]


@dataclass(frozen=True)
class GuessedTexts:
    """Texts of one agent, or of several; of each its passes, in their order."""

    texts: tuple[tuple[Pass, ...], ...]

    @property
    def passes(self) -> list[Pass]:
        """Without the first of each text, which ends its prefill."""
        return [one for text in self.texts for one in text[1:]]

    @property
    def decoded_tokens(self) -> int:
        """Without the first of each text, which its prefill gives."""
        return sum(one.given for text in self.texts for one in text) - len(self.texts)

    @property
    def guessing(self) -> list[Pass]:
        return [one for one in self.passes if one.computed > 1]

    def tokens_a_pass(self, start: int = 0, stop: float = np.inf) -> Summary:
        """Over the passes that begin at these positions; texts differ from each other."""
        return summarize_pooled([_given(text, start, stop) for text in self.texts])

    @property
    def mean_width(self) -> float:
        """NaN where there is no pass but first ones."""
        return float(np.mean([one.computed for one in self.passes])) if self.passes else np.nan

    def factor(self, ratio: Ratio) -> float:
        """What a token takes of a decode, on average; 1 where no text has a second token."""
        tokens = self.decoded_tokens
        return sum(ratio(one.computed) for one in self.passes) / tokens if tokens else 1.0

    def pace(self, ratio: Ratio) -> TextPace:
        """The same by position, in parts that hold as many tokens each."""
        places, costs = self._by_token(ratio)
        if not len(places):
            return TextPace()
        starts = self.part_starts(places)
        part = np.searchsorted(starts, places, side="right")
        means = [float(costs[part == number].mean()) for number in range(len(starts) + 1)]
        return TextPace(tuple(starts), tuple(means))

    def part_starts(self, places: Sequence[int] | Floats) -> list[int]:
        """At which positions parts after the first begin."""
        count = max(1, min(PARTS, len(places) // LEAST_TOKENS))
        cuts = np.quantile(places, np.arange(1, count) / count)
        first = int(np.min(places))
        return sorted({int(cut) for cut in np.ceil(cuts)} - {first})

    def by_position(self) -> Iterator[tuple[int, int, Summary]]:
        """Tokens a pass from each position to the next, and in the last part to the longest."""
        places, _ = self._by_token(lambda width: 1.0)
        if len(places):
            starts = self.part_starts(places)
            stops = [*starts, int(places.max()) + 1]
            for start, stop in zip([0, *starts], stops, strict=True):
                yield start, stop, self.tokens_a_pass(start, stop)

    def _by_token(self, ratio: Ratio) -> tuple[Floats, Floats]:
        """Of all tokens after the first of their text: position, and what each took."""
        places, costs = list[int](), list[float]()
        for text in self.texts:
            position = 0
            for number, one in enumerate(text):
                each = ratio(one.computed) / one.given if number else 0.0
                places += range(position, position + one.given)
                costs += [each] * one.given
                position += one.given
        array = np.array(places, dtype=float)
        return array[array > 0], np.array(costs)[array > 0]


def together(some: Sequence[GuessedTexts]) -> GuessedTexts:
    return GuessedTexts(tuple(text for one in some for text in one.texts))


def texts_of(samples: Sequence[Mapping[str, Sequence[Pass]]]) -> dict[str, GuessedTexts]:
    """By agent.

    Args:
        samples: of each request, by agent, the passes of its text.
    """
    found: dict[str, list[tuple[Pass, ...]]] = defaultdict(list)
    for sample in samples:
        for agent, passes in sample.items():
            found[agent].append(tuple(passes))
    return {agent: GuessedTexts(tuple(texts)) for agent, texts in found.items()}


def _given(text: Sequence[Pass], start: int, stop: float) -> Floats:
    """Of the passes after the first that begin from ``start`` on, before ``stop``."""
    begins = np.cumsum([0, *(one.given for one in text)])[1:-1]
    given = np.array([one.given for one in text[1:]], dtype=float)
    return given[(begins >= start) & (begins < stop)]
