"""Requests on endpoints whose prompts cost nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from staircase import Agent, Pipeline, RequestShape, Schedule, Workload
from staircase.metrics.request_metrics import RequestMetrics, measure
from staircase.pipeline import Arrival
from staircase.prompt import query
from staircase.timeline import Timeline, to_ps

NO_LIMIT = 1 << 20


def on_engines(
    pipeline: Pipeline,
    schedule: Schedule,
    shape: RequestShape,
    engines: Mapping[str, EndpointSetup],
) -> Timeline:
    """One request, whose agents may write as much as ``shape`` says."""
    agents = tuple(replace(agent, max_tokens=NO_LIMIT) for agent in pipeline)
    return simulate(replace(pipeline, agents=agents), schedule, engines, Workload([shape]))[0]


def timeline_of(
    pipeline: Pipeline,
    schedule: Schedule,
    tokens: Mapping[str, int],
    itl_s: Mapping[str, float],
    query_tokens: int = 1,
) -> Timeline:
    """One request; a call's first token takes as long as any other. ``itl_s`` is by engine."""
    engines = {
        name: EndpointSetup(to_ps(itl), to_ps(itl), prefix_caching=True, min_cached_tokens=128)
        for name, itl in itl_s.items()
    }
    asked = {query(agent.name): query_tokens for agent in pipeline if agent.arrival is None}
    return on_engines(pipeline, schedule, RequestShape(asked, tokens, "length"), engines)


def played(
    pipeline: Pipeline, schedule: Schedule, tokens: Mapping[str, int], itl_s: Mapping[str, float]
) -> RequestMetrics:
    """The metrics of ``timeline_of``."""
    return measure(timeline_of(pipeline, schedule, tokens, itl_s))


def input_and_reader(tokens_per_s: float, segment_tokens: int) -> Pipeline:
    """An input ``seen`` and who reads it, ``z``."""
    arrival = Arrival(tokens_per_s, segment_tokens)
    seen = Agent("seen", arrival=arrival, max_tokens=NO_LIMIT)
    return Pipeline((seen, Agent("z", reads=("seen",), max_tokens=NO_LIMIT)), "z")
