"""What a request came to: usage in OpenAI's words, and by agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from executor.runtime import Outcome
from staircase.messages import EndReason
from staircase.metrics.shortfalls import shortfalls_of
from staircase.pipeline import Pipeline
from staircase.timeline import Span, Timeline, to_s


def usage_of(pipeline: Pipeline, outcome: Outcome, completion_tokens: int) -> dict[str, Any]:
    """Of the answer: the prompt is that of its last call, from which it was written to the end."""
    spans = [span for span in outcome.timeline.spans if span.agent == pipeline.answer]
    prompt_tokens = spans[-1].prompt_tokens if spans else 0
    thinking = sum(span.thinking_tokens for span in spans)
    written = completion_tokens + thinking
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": written,
        "total_tokens": prompt_tokens + written,
        "prompt_tokens_details": {"cached_tokens": spans[-1].cached_tokens if spans else 0},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


def account_of(pipeline: Pipeline, outcome: Outcome) -> dict[str, Any]:
    """By agent: calls, tokens, and seconds since the request began to be played."""
    line = outcome.timeline
    found: dict[str, Any] = {"agents": {}}
    for agent in pipeline:
        spans = [span for span in line.spans if span.agent == agent.name]
        found["agents"][agent.name] = _of_agent(line, spans)
    missing = _missing(line)
    return found | ({"missing": missing} if missing else {})


def _missing(line: Timeline) -> dict[str, str]:
    """By agent, why its text is not there, or not all; what a server said is not for clients."""
    last = {span.agent: span.reason for span in line.spans}
    found = {}
    for one in shortfalls_of(line):
        why = one.why if last[one.agent] in get_args(EndReason) else "failed"
        found[one.agent] = f"in part: {why}" if one.is_part else why
    return found


def _of_agent(line: Timeline, spans: Sequence[Span]) -> dict[str, Any]:
    firsts = [span.first_token_ps for span in spans if span.first_token_ps is not None]

    def since(ps: int) -> float:
        return round(to_s(ps - line.arrival_ps), 6)

    return {
        "calls": len(spans),
        "prompt_tokens": sum(span.prompt_tokens for span in spans),
        "cached_tokens": sum(span.cached_tokens for span in spans),
        "completion_tokens": sum(span.made_tokens for span in spans),
        "guessed_tokens": sum(span.guessed_tokens for span in spans),
        "first_token_s": since(firsts[0]) if firsts else None,
        "end_s": since(spans[-1].ended_ps) if spans else None,
    }
