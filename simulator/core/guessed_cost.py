"""A cost whose pure decode iterations are those of an engine with slots that guesses.

Of n sequences that decode, g have a guess in an iteration: they are a pass of their own, which
takes r(w, g) of one of a single token each, beside the pass of the others. Each has one by itself,
as often as passes have, so g is binomial. The simulator gives a sequence one token an iteration, so
an iteration is as long as one token takes on average, over all texts of the engine. Iterations that
also prefill stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from profiles.guessed_passes import GuessedTexts
from profiles.hardware.transforms import Factors
from profiles.latency.profile import EngineProfile
from simulator.core.cost import Cost, with_factors


def guessed(cost: Cost, profile: EngineProfile, texts: GuessedTexts) -> Cost:
    """``cost`` is that of ``profile``, without guesses."""
    if not texts.decoded_tokens:
        return cost
    rows = range(1, len(cost.decode_ps))
    ratios = [0.0, *(_mean_ratio(profile, texts, wide) for wide in rows)]
    return with_factors(cost, [_factors_at(cost, ratios, texts, row) for row in rows])


def _mean_ratio(profile: EngineProfile, texts: GuessedTexts, wide: int) -> float:
    """r(w, g) of ``wide`` sequences that guess, over all passes that do; 0 where none does."""
    ratios = [profile.pass_ratio(one.computed, wide) for one in texts.guessing]
    return float(np.mean(ratios)) if ratios else 0.0


def _factors_at(cost: Cost, ratios: Sequence[float], texts: GuessedTexts, rows: int) -> Factors:
    """Of an iteration of so many sequences, for each token that comes of it.

    Args:
        ratios: of a pass of 0, 1, 2, … sequences that guess.
    """
    passes = len(texts.passes)
    share = len(texts.guessing) / max(passes, 1)
    dense = attention = 0.0
    for wide in range(rows + 1):
        chance = comb(rows, wide) * share**wide * (1 - share) ** (rows - wide)
        ratio = ratios[wide]
        plain_ps = cost.decode_ps[rows - wide] if wide < rows else 0
        wide_ps = ratio * cost.decode_ps[wide]
        dense += chance * (plain_ps + wide_ps) / cost.decode_ps[rows]
        attention += chance * (rows - wide + ratio * wide) / rows
    each = passes / texts.decoded_tokens
    return Factors(each * dense, each * attention)
