"""Parts of requests whose seconds are compared: forecast and measured, by schedule and agent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from staircase.timeline import Span, Timeline, to_s

# Round, schedule, agent, which calls, what of them.
Part = tuple[int, str, str, str, str]


def parts_of(
    round_: int, name: str, answer: str, timelines: Sequence[Timeline]
) -> dict[Part, float]:
    """Mean seconds of each part over the requests of one schedule."""
    found: dict[Part, list[float]] = defaultdict(list)
    for line in timelines:
        if line.answer_ps:
            for what, place in (("first token", 0), ("last token", -1)):
                took_ps = line.answer_ps[place] - line.arrival_ps
                found[round_, name, answer, "all", what].append(to_s(took_ps))
        for span in line.spans:
            which = "later" if span.step else "first"
            for what, seconds in _parts_of_call(span):
                found[round_, name, span.agent, which, what].append(seconds)
    return {part: float(np.mean(seconds)) for part, seconds in found.items()}


def _parts_of_call(span: Span) -> Iterator[tuple[str, float]]:
    if span.first_token_ps is None:
        return
    if span.thought_ps is not None:
        yield "first thought", to_s(span.thought_ps - span.submitted_ps)
    yield "first token", to_s(span.first_token_ps - span.submitted_ps)
    # The end of a text is a pass more.
    passes = span.output_tokens - 1 + (span.reason == "stop")
    if passes:
        yield "next tokens", to_s(span.ended_ps - span.first_token_ps) / passes
