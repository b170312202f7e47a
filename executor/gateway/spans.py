"""A request as spans of OpenTelemetry, by its conventions for generative models.

A request has a span, each agent and each input one in it, and each of the agent's calls one in
that. Without a provider of the OpenTelemetry SDK in the process nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span as TraceSpan
from opentelemetry.trace import StatusCode, Tracer, set_span_in_context

from executor.gateway.served_plan import Point
from executor.runtime import Outcome
from staircase.timeline import PS_PER_NS, Span

NAME = "staircase.gateway"


def own_tracer() -> Tracer:
    return trace.get_tracer(NAME)


def parent_of(headers: Mapping[str, str]) -> Context:
    """The span in which a client asks, if it says so."""
    return propagate.extract(headers)


def trace_request(
    tracer: Tracer, plan: str, point: Point, outcome: Outcome, ended_ns: int, parent: Context
) -> None:
    """Of one that is over; ``ended_ns`` since 1970."""
    line = outcome.timeline
    last_ps = max((span.ended_ps for span in line.spans), default=line.completed_ps)

    def at(ps: int) -> int:
        return ended_ns - (last_ps - ps) // PS_PER_NS

    whole = tracer.start_span(
        f"chat {plan}",
        parent,
        start_time=at(line.arrival_ps),
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "staircase",
            "gen_ai.request.model": plan,
            "staircase.schedule": point.name,
        },
    )
    if line.error is not None:
        whole.set_status(StatusCode.ERROR)
    for agent in point.pipeline:
        calls = [span for span in line.spans if span.agent == agent.name]
        if not calls:
            continue
        invoked = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent.name}
        written = tracer.start_span(
            f"invoke_agent {agent.name}" if agent.has_engine else f"input {agent.name}",
            set_span_in_context(whole),
            start_time=at(calls[0].submitted_ps),
            attributes=invoked if agent.has_engine else {"staircase.input": agent.name},
        )
        for call in calls if agent.has_engine else ():
            _call(tracer, call, written, at(call.submitted_ps)).end(at(call.ended_ps))
        written.end(at(calls[-1].ended_ps))
    whole.end(ended_ns)


def _call(tracer: Tracer, call: Span, written: TraceSpan, start_ns: int) -> TraceSpan:
    found = tracer.start_span(
        f"chat {call.engine}",
        set_span_in_context(written),
        start_time=start_ns,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": call.engine,
            "gen_ai.usage.input_tokens": call.prompt_tokens,
            "gen_ai.usage.output_tokens": call.made_tokens,
            "staircase.step": call.step,
            "staircase.cached_tokens": call.cached_tokens,
            "staircase.guessed_tokens": call.guessed_tokens,
        },
    )
    if call.reason not in ("stop", "length", "cancelled"):
        found.set_status(StatusCode.ERROR)
    return found
