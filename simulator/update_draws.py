"""How inputs replace part of what they said, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simulator.lengths import lengths_at
from staircase.pipeline import Arrival
from staircase.revisions.updates import Update
from staircase.spec.workload_spec import UpdatesSpec


def drawn_updates(
    draws: np.random.Generator, arrival: Arrival, spec: UpdatesSpec, folder: Path, tokens: int
) -> tuple[Update, ...]:
    """An update a segment of an input of so many ``tokens``.

    As much is drawn whatever the share, so that a change of it leaves the lengths.
    """
    found, there = list[Update](), 0
    while there < tokens:
        last = arrival.last_of_segment(there + 1, tokens)
        is_other, length = draws.random(), draws.standard_normal(1)
        replaced = min(int(lengths_at(length, spec.tokens, folder)[0]), there)
        standing = there - replaced if is_other < spec.share else there
        found.append(Update(arrival.seconds(last), standing, last - standing))
        there = last
    return tuple(found)
