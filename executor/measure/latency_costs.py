"""What a measurement will take, from those that were paid for: at most in proportion to its work.

An iteration has a fixed part too, so that what is concluded from a smaller one is too much; the
nearest that is known says it best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from executor.measure.grid_points import (
    DECODE_RUN,
    WIDE_RUN,
    Decode,
    GridPoint,
    Mixed,
    Prefill,
    Wide,
)
from executor.measure.measurements import Sample

# Visits of a new place: the first one does not count.
NEW_VISITS = 2


@dataclass
class Costs:
    """Seconds of whole visits.

    Attributes:
        prefills, decodes: seconds of an iteration by new tokens, and by sequences.
        visits: by place, the shortest one so far.
    """

    prefills: dict[int, float] = field(default_factory=dict)
    decodes: dict[int, float] = field(default_factory=dict)
    visits: dict[GridPoint, float] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        place = sample.place
        self.visits[place] = min(sample.took_s, self.visits.get(place, sample.took_s))
        if not sample.seconds:
            return
        seconds = float(np.median(sample.seconds)) + sample.wait_s
        if isinstance(place, Prefill):
            known = self.prefills.get(place.new_tokens, 0.0)
            self.prefills[place.new_tokens] = max(seconds, known)
        elif isinstance(place, Decode):
            self.decodes[place.batch] = max(seconds, self.decodes.get(place.batch, 0.0))

    def visit_s(self, place: GridPoint) -> float:
        """A new place is visited twice."""
        return self.visits.get(place) or NEW_VISITS * self._once_s(place)

    def all_s(self, places: Sequence[GridPoint]) -> float:
        return sum(map(self.visit_s, places))

    def _once_s(self, place: GridPoint) -> float:
        if isinstance(place, Prefill):
            return self._prefill_s(place.new_tokens) + self._prefill_s(place.cached_tokens)
        prompts_s = place.batch * self._prefill_s(place.context_tokens)
        again_s = place.batch * self._prefill_s(1) if place.batch > 1 else 0.0
        if isinstance(place, Wide):
            passes = WIDE_RUN + place.width
            return prompts_s + again_s + passes * self._prefill_s(place.batch * place.width)
        if isinstance(place, Mixed):
            late_s, run = self._prefill_s(place.new_tokens), 2 * DECODE_RUN
        else:
            late_s, run = 0.0, DECODE_RUN + 1
        return prompts_s + again_s + late_s + run * self._decode_s(place.batch)

    def _prefill_s(self, tokens: int) -> float:
        return _in_proportion(self.prefills, tokens) if tokens else 0.0

    def _decode_s(self, batch: int) -> float:
        if self.decodes:
            return _in_proportion(self.decodes, batch)
        return batch * self._prefill_s(1)


def _in_proportion(known: dict[int, float], size: int) -> float:
    """0 where nothing is known."""
    return min((s * max(1.0, size / n) for n, s in known.items()), default=0.0)
