"""Calls as if nothing had been written but what stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from staircase.messages import Call
from staircase.prompt import Prompt, Segment, joined
from staircase.standing_text import Pieces, numbers


def standing_call(call: Call, pieces: Mapping[str, Pieces]) -> Call:
    """Its prompt by the numbers of tokens that stand, without those that do not.

    Args:
        pieces: by agent, of those of whose text not all stands.
    """
    segments = list[Segment]()
    for one in call.prompt.segments:
        if one.source in pieces:
            found = numbers(pieces[one.source], one.start, one.stop)
            segments += [Segment(one.source, *range_) for range_ in found]
        else:
            segments.append(one)
    prompt = Prompt(tuple(joined(segments)))
    return replace(call, written=call.standing, fallen=0, prompt=prompt)
