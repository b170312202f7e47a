"""A request's spans: which there are, and in what they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from executor.gateway.spans import parent_of, trace_request
from executor.runtime import Job, Runtime
from staircase import Question
from tests.support.gateway_server import plan_on, scripted

NOW_NS = 10**18


def traced(headers: Mapping[str, str]) -> Sequence[ReadableSpan]:
    """As the SDK keeps them, the request's last."""
    plan, kept = plan_on(scripted()), InMemorySpanExporter()
    point = plan.points["chosen"]
    outcome = Runtime(plan.runtime.served).run(
        [Job(point.pipeline, point.schedule, Question("why"))]
    )[0]
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("test")
    trace_request(tracer, "panel", point, outcome, NOW_NS, parent_of(headers))
    spans = kept.get_finished_spans()
    assert sum(one.name.startswith("chat ") for one in spans) == 1 + len(outcome.calls)
    return spans


def test_calls_lie_in_agents_and_agents_in_the_request() -> None:
    *spans, request = traced({})
    by_id = {one.context.span_id: one for one in (*spans, request) if one.context}
    assert (request.name, request.parent, request.end_time) == ("chat panel", None, NOW_NS)
    assert request.status.is_unset
    agents = [one for one in spans if one.name.startswith("invoke_agent ")]
    assert {one.name for one in agents} == {f"invoke_agent {name}" for name in ("ann", "bo", "ed")}
    for one in spans:
        assert one.parent
        inside = by_id[one.parent.span_id]
        assert inside is request if one in agents else inside in agents
        times = inside.start_time, one.start_time, one.end_time, inside.end_time
        known = [time for time in times if time is not None]
        assert len(known) == 4
        assert known == sorted(known)


def test_a_request_lies_in_the_clients_span() -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    request = traced({"traceparent": f"00-{trace}-{span}-01"})[-1]
    assert request.parent
    assert (request.parent.trace_id, request.parent.span_id) == (int(trace, 16), int(span, 16))
