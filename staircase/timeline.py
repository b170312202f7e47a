"""Timelines: everything that happened to one request.

The simulator and the executor return the same type. Times are integer picoseconds since the
run began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from staircase.messages import EndReason
from staircase.votes import Outcome

PS_PER_S = 10**12
PS_PER_NS = 1000


def to_ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)


def to_s(picoseconds: float) -> float:
    return picoseconds / PS_PER_S


@dataclass(frozen=True)
class Span:
    """One call: queued from ``submitted_ps``, prefill from ``started_ps``, decode from
    ``first_token_ps`` (None if it wrote nothing), which is the first that can be read.

    A model that thinks does so before that, from ``thought_ps`` on (None if it did not).

    Attributes:
        read: tokens of each source that it was shown, in the order of the agent's ``reads``.
        written: tokens of the agent's text before those that it wrote itself.
        busy_ps: device time that it used.
        cached_tokens: prompt tokens that were not prefilled again.
        output_tokens: without those of its thought, of which nobody reads.
        reason: why it ended, or the error by which it failed.
        remark: what is odd about its text though it did not fail, as that the model refused.
        fallen_tokens: of its output, that are no part of the agent's text any more.
        checked_tokens: of its agent's text, that it checked, of which ``kept_tokens`` stood.
        passes: of the model, each of which gave at least one token; 0 where that is not known.
        guessed_tokens: that came of a pass as they were guessed and right.
        near_ties: tokens of its guess that a server judged where two were about as likely, so that
            rounding may have chosen.
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
    thought_ps: int | None = None
    thinking_tokens: int = 0
    fallen_tokens: int = 0
    checked_tokens: int = 0
    kept_tokens: int = 0
    passes: int = 0
    guessed_tokens: int = 0
    near_ties: int = 0

    @property
    def standing_tokens(self) -> int:
        return self.output_tokens - self.fallen_tokens

    @property
    def has_model(self) -> bool:
        """Whether a model wrote it, which is always given a prompt: no input, and no vote."""
        return self.prompt_tokens > 0

    @property
    def prefilled_tokens(self) -> int:
        return self.prompt_tokens - self.cached_tokens

    @property
    def made_tokens(self) -> int:
        """All that the model made, thought or answer."""
        return self.thinking_tokens + self.output_tokens

    @property
    def first_output_ps(self) -> int | None:
        """Of its first token, thought or answer."""
        return self.first_token_ps if self.thought_ps is None else self.thought_ps


@dataclass(frozen=True)
class Timeline:
    """One request.

    Attributes:
        answer_ps: when each token of the answer was there for whoever reads it.
        completed_ps: when the answer was known to be complete.
        written: tokens of each agent's text.
        error: why there is no complete answer, or None.
        thought_ps: when the first token of the answer's first thought was there; None if the agent
            that answers did not think.
        input_ps: when the last token of its inputs was there; None if it has none.
        votes: by agent that votes, what came of it.
        retracted_tokens: that were shown as the answer's and are no part of it, as what they were
            written on was replaced, or did not stand when they were checked.
        items: tokens before each item of an agent's text that was seen to begin, by agent, of those
            whose items may start others.
    """

    request: int
    arrival_ps: int
    completed_ps: int
    spans: tuple[Span, ...]
    answer_ps: tuple[int, ...]
    written: Mapping[str, int]
    error: str | None = None
    thought_ps: int | None = None
    input_ps: int | None = None
    votes: Mapping[str, Outcome] = field(default_factory=dict)
    items: Mapping[str, Sequence[int]] = field(default_factory=dict)
    retracted_tokens: int = 0

    @property
    def thinking_tokens(self) -> dict[str, int]:
        """By agent, of those that thought."""
        found = Counter[str]()
        for span in self.spans:
            found[span.agent] += span.thinking_tokens
        return {agent: tokens for agent, tokens in found.items() if tokens}


def last_readings(spans: Sequence[Span], written: int) -> list[tuple[Span, int, int]]:
    """On what reading each token of a text of ``written`` tokens was written or last checked.

    Args:
        spans: of the agent, in their order.

    Returns: calls in their order, each with the tokens ``start`` to ``stop`` that are so of it.
    """
    found, end = list[tuple[Span, int, int]](), written
    for span in reversed(spans):
        start = min(span.written - span.kept_tokens, end)
        if start < end:
            found.append((span, start, end))
        end = start
    return found[::-1]


def since_arrival(timeline: Timeline) -> Timeline:
    """The same, of a request that arrives at 0."""
    begin = timeline.arrival_ps
    spans = tuple(
        replace(
            span,
            submitted_ps=span.submitted_ps - begin,
            started_ps=span.started_ps - begin,
            first_token_ps=_since(begin, span.first_token_ps),
            thought_ps=_since(begin, span.thought_ps),
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
        thought_ps=_since(begin, timeline.thought_ps),
        input_ps=_since(begin, timeline.input_ps),
    )


def _since(begin_ps: int, ps: int | None) -> int | None:
    return None if ps is None else ps - begin_ps
