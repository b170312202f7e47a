"""Answers by vote and by search: what they cost, and how sure they are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np

from benchmarks.streams.row import Forecast, Row, Said

# 20 disks, and errors of one vote before any is discarded (section 4.3, as a digest has it).
STEPS = 2**20 - 1
ERRORS = {"gpt-4.1-mini": 0.0022, "o3-mini": 0.0018}
TARGET = 0.95


def right(p: float, lead: int) -> float:
    """Chance that the right one of two answers is first ahead by ``lead``; gambler's ruin."""
    return p**lead / (p**lead + (1 - p) ** lead)


def votes(p: float, lead: int) -> float:
    """Votes until then, on average; ``p`` is not a half."""
    return lead * (2 * right(p, lead) - 1) / (2 * p - 1)


def least_lead(p: float, steps: int, target: float) -> int:
    """The lead at which ``steps`` decisions are all right with probability ``target``."""
    return next(lead for lead in count(1) if right(p, lead) ** steps >= target)


def drawn(p: float, lead: int, races: int, seed: int) -> tuple[float, float]:
    """Share of races that the right answer wins, and votes of a race, by drawing them."""
    rng = np.random.default_rng(seed)
    ahead, taken = np.zeros(races, dtype=int), np.zeros(races, dtype=int)
    while (open_ := np.abs(ahead) < lead).any():
        ahead[open_] += np.where(rng.random(int(open_.sum())) < p, 1, -1)
        taken[open_] += 1
    return float((ahead > 0).mean()), float(taken.mean())


def maker() -> Iterator[Row]:
    error = ERRORS["gpt-4.1-mini"]
    lead = least_lead(1 - error, STEPS, TARGET)
    what = "lead for 1,048,575 steps, an error of 0.0022"
    yield Forecast("MAKER", what, 3, lead, "", "restated")
    sure = right(1 - error, lead) ** STEPS
    yield Said("MAKER", "its run: no error", f"no error in {sure:.1%} of runs", "holds")
    cast = votes(1 - error, lead)
    found = f"{lead / cast:.1%} of {cast * STEPS / 1e6:.2f} million votes"
    yield Said("MAKER", "most votes are of the first three rounds", found, "holds")
    for model, dollars in (("gpt-4.1-mini", 3500), ("o3-mini", 9400)):
        p = 1 - ERRORS[model]
        total = votes(p, least_lead(p, STEPS, TARGET)) * STEPS
        found = f"{dollars / total * 1000:.2f} dollars for 1,000 votes"
        yield Said("MAKER", f"{model}: {dollars:,} dollars", found)


def search() -> Iterator[Row]:
    found = "a third of the rounds' chunks, at equal length"
    yield Said("A*-decoding", "up to 3x fewer tokens", found)


SYSTEMS = (maker, search)
