"""A request's spans: which there are, and in what they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
)

from executor.gateway.spans import parent_of, trace_request
from executor.runtime import Job, Runtime
from staircase import Question
from tests.support.gateway_server import plan_on, scripted

NOW_NS = 10**18


class Kept(NonRecordingSpan):
    """What it is told."""

    def __init__(self, context: SpanContext, name: str, start_ns: int, parent: int) -> None:
        super().__init__(context)
        self.name, self.start_ns, self.parent = name, start_ns, parent
        self.end_ns: int | None = None

    def end(self, end_time: int | None = None) -> None:
        self.end_ns = end_time

    def set_status(self, status: Any, description: str | None = None) -> None:
        assert status == StatusCode.ERROR


@dataclass
class Keeper(Tracer):
    spans: list[Kept] = field(default_factory=list)

    def start_span(
        self, name: str, context: Context | None = None, *args: Any, **said: Any
    ) -> Kept:
        own = SpanContext(1, len(self.spans) + 1, False, TraceFlags(1))
        parent = get_current_span(context).get_span_context().span_id
        self.spans.append(Kept(own, name, said["start_time"], parent))
        return self.spans[-1]

    def start_as_current_span(self, *args: Any, **said: Any) -> Any:
        raise NotImplementedError


def traced(headers: Mapping[str, str]) -> list[Kept]:
    plan = plan_on(scripted())
    point = plan.points["chosen"]
    job = Job(point.pipeline, point.schedule, Question("why"))
    outcome = Runtime(plan.runtime.served).run([job])[0]
    keeper = Keeper()
    trace_request(keeper, "panel", point, outcome, NOW_NS, parent_of(headers))
    assert sum(one.name.startswith("chat ") for one in keeper.spans) == 1 + len(outcome.calls)
    return keeper.spans


def test_calls_lie_in_agents_and_agents_in_the_request() -> None:
    spans = traced({})
    by_id = {one.get_span_context().span_id: one for one in spans}
    request = spans[0]
    assert (request.name, request.parent, request.end_ns) == ("chat panel", 0, NOW_NS)
    agents = [one for one in spans if one.name.startswith("invoke_agent ")]
    assert {one.name for one in agents} == {f"invoke_agent {name}" for name in ("ann", "bo", "ed")}
    for one in spans[1:]:
        inside = by_id[one.parent]
        assert inside is request if one in agents else inside in agents
        assert inside.start_ns <= one.start_ns
        assert one.end_ns is not None
        assert inside.end_ns is not None
        assert one.start_ns <= one.end_ns <= inside.end_ns


def test_a_request_lies_in_the_clients_span() -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    request = traced({"traceparent": f"00-{trace}-{span}-01"})[0]
    assert request.parent == int(span, 16)
