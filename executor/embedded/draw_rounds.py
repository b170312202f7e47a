"""Random rounds of reading, of many shapes: what the editor is trained on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import repeat

from staircase.prompt import Round

FIRST = (0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48)
CHUNKS = range(2, 49)


def draw_rounds(
    rng: random.Random, lengths: tuple[int, ...], own: int, is_spread: bool
) -> list[Round]:
    """Rounds of a random staircase; all before the first own token unless ``is_spread``.

    A quarter reads all at once. Of the others some never read to the end, and in a third the
    sources are not read alike, as with a quorum: some later, some less far, some not at all.
    """
    if rng.random() < 0.25:
        return [Round(lengths, 0)]
    paces = [_pace(rng) if rng.random() < 0.5 else 1.0 for _ in lengths]
    if rng.random() < 0.67:
        paces = [1.0] * len(lengths)
    last = max(lengths) if rng.random() < 0.4 else rng.randint(0, max(lengths))
    writes = _writes(rng) if is_spread else repeat(0)
    rounds, written = list[Round](), 0
    for level, write in zip(_levels(rng, last), writes, strict=False):
        read = tuple(min(int(level * pace), n) for pace, n in zip(paces, lengths, strict=True))
        rounds.append(Round(read, written))
        written += write
        if written >= own:
            break
    return rounds


def _writes(rng: random.Random) -> Iterator[int]:
    """Tokens written after each round: always the same, or half of the time always others.

    Of any number, or else only where texts were cut in training it is known how they go on.
    """
    most = rng.choice((2, 6, 12, 24))
    same = rng.randint(1, most) if rng.random() < 0.5 else None
    while True:
        yield same or rng.randint(1, most)


def _pace(rng: random.Random) -> float:
    """How much of what the others say is read of a source that lags."""
    return rng.choice((0.0, rng.random()))


def _levels(rng: random.Random, last: int) -> Iterator[int]:
    """A constant or geometric staircase's read levels, to ``last``."""
    level, chunk = rng.choice(FIRST), float(rng.choice(CHUNKS))
    ratio = rng.choice((1.0, 1.0, 1.5, 2.0))
    while level < last:
        yield level
        level += round(chunk)
        chunk *= ratio
    yield last
