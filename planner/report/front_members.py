"""Members of the front as they were played, small enough to be kept in the plan's file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.results.explanation import FrontMember
from staircase.metrics.request_metrics import reader_ps
from staircase.timeline import Timeline

# So many of a front are kept, and of an answer so many tokens and so many gaps.
MEMBERS, TOKENS, GAPS = 40, 24, 12


def front_member(number: int, timeline: Timeline, answer: str, reading_rate: float) -> FrontMember:
    """Args are those of the candidate, of its request from its arrival on, and of its reader."""
    calls = [span for span in timeline.spans if span.agent == answer]
    tokens = shown_tokens(timeline.answer_ps, reader_ps(reading_rate))
    return FrontMember(
        number,
        tuple(span.written for span in calls),
        tuple(span.output_tokens for span in calls),
        tuple(max(span.read, default=0) for span in calls),
        tuple(tokens),
        tuple(timeline.answer_ps[token - 1] for token in tokens),
    )


def shown_tokens(answer_ps: Sequence[int], step_ps: int) -> list[int]:
    """Numbers of some tokens, from 1 on.

    Evenly spread ones, those around the longest gaps, and the one that the reader, who takes one
    every ``step_ps``, would have to wait for.
    """
    count = len(answer_ps)
    if not count:
        return []
    times = np.array(answer_ps, dtype=np.int64)
    spread = np.linspace(1, count, min(count, TOKENS)).round().astype(int)
    before = np.argsort(-np.diff(times), kind="stable")[:GAPS] + 1
    awaited = int(np.argmax(times - np.arange(count) * step_ps)) + 1
    return sorted({*spread.tolist(), *before.tolist(), *(before + 1).tolist(), awaited})
