"""Timelines: everything that happened to one request.

The simulator and the executor return the same type. Times are integer picoseconds since the
run began.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from staircase.messages import EndReason

PS_PER_S = 10**12
PS_PER_NS = 1000


def to_ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)


def to_s(picoseconds: float) -> float:
    return picoseconds / PS_PER_S


@dataclass(frozen=True)
class Span:
    """One call: queued from ``submitted_ps``, prefill from ``started_ps``, decode from
    ``first_token_ps`` (None if it wrote nothing).

    Attributes:
        read: tokens of each source that it was shown, in the order of the agent's ``reads``.
        written: tokens that the agent wrote before it.
        busy_ps: device time that it used.
        cached_tokens: prompt tokens that were not prefilled again.
        reason: why it ended, or the error by which it failed.
        remark: what is odd about its text though it did not fail, as that the model refused.
    """

    call: int
    agent: str
    engine: str
    step: int
    read: tuple[int, ...]
    written: int
    submitted_ps: int
    started_ps: int
    first_token_ps: int | None
    ended_ps: int
    busy_ps: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    reason: EndReason | str
    remark: str | None = None

    @property
    def prefilled_tokens(self) -> int:
        return self.prompt_tokens - self.cached_tokens


@dataclass(frozen=True)
class Timeline:
    """One request.

    Attributes:
        answer_ps: when each token of the answer was there.
        completed_ps: when the answer was known to be complete.
        written: tokens that each agent wrote.
        error: why there is no complete answer, or None.
    """

    request: int
    arrival_ps: int
    completed_ps: int
    spans: tuple[Span, ...]
    answer_ps: tuple[int, ...]
    written: Mapping[str, int]
    error: str | None = None


def since_arrival(timeline: Timeline) -> Timeline:
    """The same, of a request that arrives at 0."""
    begin = timeline.arrival_ps
    spans = tuple(
        replace(
            span,
            submitted_ps=span.submitted_ps - begin,
            started_ps=span.started_ps - begin,
            first_token_ps=None if span.first_token_ps is None else span.first_token_ps - begin,
            ended_ps=span.ended_ps - begin,
        )
        for span in timeline.spans
    )
    return replace(
        timeline,
        arrival_ps=0,
        completed_ps=timeline.completed_ps - begin,
        spans=spans,
        answer_ps=tuple(ps - begin for ps in timeline.answer_ps),
    )
