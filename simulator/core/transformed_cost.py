"""A cost whose pure decode iterations are those of an engine with transforms.

The simulator gives a sequence one token an iteration. With a transform an iteration is as long as
one token takes on average. Iterations that prefill stay as they are: decoding sequences get one
token of them, where they really would get more.
"""

from __future__ import annotations

from collections.abc import Sequence

from profiles.hardware.transforms import Factors, Transform, factors
from simulator.core.cost import Cost, at, with_factors


def transformed(cost: Cost, transforms: Sequence[Transform]) -> Cost:
    if not transforms:
        return cost
    rows = range(1, len(cost.decode_ps))
    return with_factors(cost, [_factors_at(cost, transforms, row) for row in rows])


def _factors_at(cost: Cost, transforms: Sequence[Transform], sequences: int) -> Factors:
    def pass_ps(tokens: int) -> int:
        return at(cost.tokens_ps, tokens) + at(cost.sequences_ps, sequences)

    one = max(pass_ps(sequences), 1)
    return factors(transforms, sequences, lambda width: pass_ps(width * sequences) / one)
