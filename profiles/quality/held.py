"""How far a draft holds: what is written greedily after reading part of it, under full reading.

Let y be the text that an agent writes after reading the first ⌈s·n⌉ of the n tokens of each source,
for a share s. Full reading holds its token i if it would have written the same there:

    h_i = 1 if max_z ln p(z | all, y_<i) − ln p(y_i | all, y_<i) ≤ ε, else 0

    kept prefix  min { i : h_i = 0 }, or all of y: tokens that full reading writes just so
    agreement    mean of h_i, over all positions or some; beyond the kept prefix too

So the kept prefix is what y has in common with what is written after reading everything. One pass
over y knows every h_i. Where two tokens are as probable but for rounding (ε = ``TIE_NATS``), a pass
over a whole text may find the other one; such ties are held, and counted. Whether full reading
would also have ended where y ends is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from staircase.metrics.request_metrics import NAN, Summary, summarize
from staircase.schedule import Layout

TIE_NATS = 1e-3


@dataclass(frozen=True)
class HeldText:
    """A text that was written after reading a share of each source.

    Attributes:
        request: number of the profile's sample.
        share: of each source's tokens. At 1 the text is the fully read one; what is not held of it
            is rounding, or a scorer that is not quite the model that wrote.
        layout: of the prompt, when it was written and when it was read again.
        written: its tokens.
        missed: positions, counted from 0, where full reading would have written another token.
        ties: positions that are held though another token is more probable by ``TIE_NATS`` or less.
    """

    request: int
    share: float
    layout: Layout
    written: int
    missed: tuple[int, ...]
    ties: tuple[int, ...] = ()

    @property
    def kept(self) -> int:
        """Tokens of the kept prefix."""
        return min(self.missed, default=self.written)

    def agreement(self, start: int = 0, stop: int | None = None) -> float:
        """Of positions ``start`` to ``stop``; NaN where it has none of them."""
        places = range(self.written)[start:stop]
        missed = sum(place in places for place in self.missed)
        return 1 - missed / len(places) if places else NAN


@dataclass(frozen=True)
class Held:
    """Texts of one share together: means over them, with 90 % intervals.

    Attributes:
        written, kept: tokens.
        agreement: over all positions of a text.
        by_position: the same by parts of the longest text, each from a position to before another.
    """

    share: float
    texts: int
    written: Summary
    kept: Summary
    agreement: Summary
    by_position: dict[tuple[int, int], Summary]


def held_by_share(texts: Sequence[HeldText], parts: int = 4) -> list[Held]:
    """From the least share on; positions are cut into ``parts`` alike for all of them."""
    longest = max((text.written for text in texts), default=0)
    size = max(1, -(-longest // parts))
    cuts = [(start, min(start + size, longest)) for start in range(0, longest, size)]
    shares = sorted({text.share for text in texts})
    return [_together([text for text in texts if text.share == share], cuts) for share in shares]


def _together(texts: Sequence[HeldText], cuts: Sequence[tuple[int, int]]) -> Held:
    return Held(
        texts[0].share,
        len(texts),
        summarize([text.written for text in texts]),
        summarize([text.kept for text in texts]),
        summarize([text.agreement() for text in texts]),
        {cut: summarize([text.agreement(*cut) for text in texts]) for cut in cuts},
    )
