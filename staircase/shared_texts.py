"""Texts that several requests have in common: a pool of prompts, a system prompt, a conversation.

The prompts of a request are segments of its own texts (``staircase.prompt``). Where such a text, or
a part of it, is also in other requests, its segments are told as segments of those common texts, so
that equal beginnings are found equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from staircase.prompt import Segment

COMMON = ("header/", "shared/")


class TextPart(NamedTuple):
    """The first ``tokens`` of the text ``name``, which is the same in every request."""

    name: str
    tokens: int


# What texts of a request consist of, by name; others are of this request alone.
Parts = Mapping[str, tuple[TextPart, ...]]


def is_common(source: str) -> bool:
    """Whether the text of this name is the same in every request."""
    return source.startswith(COMMON)


def with_common_texts(segments: Sequence[Segment], parts: Parts) -> Iterator[Segment]:
    """The same tokens, those that other requests have under the name that they have there."""
    for segment in segments:
        if segment.source in parts:
            yield from _split(segment, parts[segment.source])
        else:
            yield segment


def _split(segment: Segment, parts: Sequence[TextPart]) -> Iterator[Segment]:
    place = 0
    for part in parts:
        start = max(segment.start - place, 0)
        stop = min(segment.stop - place, part.tokens)
        if start < stop:
            yield Segment(f"shared/{part.name}", start, stop)
        place += part.tokens
    if place < segment.stop:
        yield Segment(segment.source, max(segment.start, place), segment.stop)
