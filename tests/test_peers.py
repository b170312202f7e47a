"""Peers: agents that read others without waiting for them, and so may read each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from executor.gateway.served_plan import single_point
from planner.profiling.subjects import pipeline_subject
from simulator.analytic.request_form import closed_form
from simulator.analytic.sketch import sketch_of
from simulator.compiled.play import play_compiled
from simulator.des.endpoint import EndpointSetup
from simulator.des.simulate import simulate
from simulator.unread import unread_of_timeline
from staircase import (
    Agent,
    Pipeline,
    RequestShape,
    Schedule,
    Timeline,
    Workload,
    constant,
    normal,
    uniform,
)
from staircase.errors import PipelineError, ScheduleError
from staircase.metrics.ttft import ttft_path
from staircase.spec.pipeline_spec import PipelineSpec
from staircase.spec.scenario import load_scenario
from staircase.timeline import to_ps

FAST, SLOW = EndpointSetup(to_ps(0.1), to_ps(0.01)), EndpointSetup(to_ps(0.1), to_ps(0.02))
PIPELINE = Pipeline(
    (
        Agent("a", reads=("b",), peers=("b",)),
        Agent("b", reads=("a",), peers=("a",)),
        Agent("z", reads=("a", "b")),
    ),
    "z",
)
REQUEST = RequestShape(
    {"query/a": 3, "query/b": 3, "query/z": 3}, {"a": 20, "b": 20, "z": 5}, "length"
)
STEPS = {"a": constant(1, 1, 10), "b": constant(1, 1, 10)}


def play(schedule: Schedule, pipeline: Pipeline = PIPELINE) -> Timeline:
    engines = {"a": FAST, "b": SLOW, "z": FAST}
    return simulate(pipeline, schedule, engines, Workload([REQUEST]))[0]


def reads_of(line: Timeline, agent: str) -> list[tuple[int, ...]]:
    return [span.read for span in line.spans if span.agent == agent]


def test_each_step_shows_what_they_have_by_then() -> None:
    line = play(Schedule(STEPS))
    # a has its first ten tokens at 0.19 s, when b has five, and all of them at 0.38, when b, whose
    # second step began at 0.28 s, has ten. Its third call says that it has ended.
    assert reads_of(line, "a") == [(0,), (5,), (10,)]
    assert reads_of(line, "b")[:2] == [(0,), (10,)]


def test_what_ended_is_read_to_its_end() -> None:
    """And then the rest is written at once: nothing more will come."""
    long = replace(REQUEST, output_tokens={"a": 10, "b": 60, "z": 5})
    engines = {"a": FAST, "b": SLOW, "z": FAST}
    line = simulate(PIPELINE, Schedule(STEPS), engines, Workload([long]))[0]
    spans = [span for span in line.spans if span.agent == "b"]
    # At 0.28 s it is not known yet that a has ended.
    told = [(span.read, span.output_tokens) for span in spans]
    assert told == [((0,), 10), ((10,), 10), ((10,), 40)]


def test_who_reads_all_first_never_looks_at_peers_again() -> None:
    assert reads_of(play(uniform(PIPELINE, normal())), "a") == [(0,)]


def test_nobody_writes_for_peers_alone() -> None:
    """Once the answer is there, two that only read each other are cut off."""
    schedule = Schedule({**STEPS, "z": constant(1, 1, 5)})
    line = play(schedule)
    assert {span.reason for span in line.spans if span.agent in "ab"} >= {"cancelled"}
    assert line.completed_ps == max(span.ended_ps for span in line.spans)


def test_a_reader_may_be_the_peer_of_its_source() -> None:
    """A critic reads the writer's text and waits for it; the writer looks at what is said."""
    pipeline = Pipeline(
        (
            Agent("a", reads=("b",), peers=("b",)),
            Agent("b", reads=("a",)),
            Agent("z", reads=("a",)),
        ),
        "z",
    )
    assert [agent.name for agent in pipeline.order] == ["a", "b", "z"]
    schedule = Schedule({"a": constant(1, 1, 8), "b": constant(8, 8, 4), "z": constant(1, 1, 5)})
    line = play(schedule, pipeline)
    # When the answer is there, they are cut off together.
    assert line.completed_ps == max(span.ended_ps for span in line.spans)
    assert reads_of(line, "b")[0] == (8,)
    assert reads_of(line, "a")[-1] > (0,)


def test_the_answer_alone_has_no_peers() -> None:
    """As a gateway serves it under load."""
    pipeline = Pipeline((Agent("a", reads=("z",), peers=("z",)), Agent("z", reads=("a",))), "z")
    looking = replace(pipeline, agents=(Agent("a"), Agent("z", reads=("a",), peers=("a",))))
    for one in (pipeline, looking):
        assert single_point(one).pipeline.agents == (Agent("z"),)


def test_unread_counts_only_those_that_are_waited_for() -> None:
    line = play(Schedule(STEPS))
    assert unread_of_timeline(PIPELINE, Schedule(STEPS), line, REQUEST) == 0


def test_the_way_to_the_first_token_leads_not_through_peers() -> None:
    line = play(Schedule(STEPS))
    path = ttft_path(line, PIPELINE, Schedule(STEPS), {})
    assert sum(one.length_ps for one in path) == line.answer_ps[0]
    # The slower of both, and nothing of the other.
    assert {one.agent for one in path} == {"b", "z"}


def test_what_needs_a_table_or_a_closed_form_leaves_it() -> None:
    engines = {"a": FAST, "b": SLOW, "z": FAST}
    assert play_compiled(PIPELINE, Schedule(), engines, Workload([REQUEST])) is None
    assert sketch_of(PIPELINE, engines, Workload([REQUEST])) is None
    with pytest.raises(ScheduleError, match="no closed form: agents have peers"):
        closed_form(PIPELINE, Schedule(), engines, REQUEST)


class TestScenario:
    def test_peers_are_read_after_the_others(self) -> None:
        text = (
            "{agents: {a: {peers: [b]}, b: {reads: [a], peers: [z]}, z: {reads: [b]}}, answer: z}"
        )
        found = PipelineSpec.model_validate(yaml.safe_load(text)).build()
        assert (found["b"].reads, found["b"].peers) == (("a", "z"), ("z",))
        assert found["b"].waits_for == ("a",)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{agents: {a: {peers: [a]}}, answer: a}", "must be another"),
            ("{agents: {a: {peers: [b]}}, answer: a}", "which is no agent"),
            ("{single: a, agents: {a: {peers: [b]}}}", "the drawn pipeline says this"),
            (
                "{agents: {a: {reads: [b]}, b: {reads: [a]}}, answer: a}",
                "wait for each other in a cycle: .* must read another as its peer",
            ),
        ],
    )
    def test_what_cannot_be(self, text: str, words: str) -> None:
        with pytest.raises(PipelineError, match=words):
            PipelineSpec.model_validate(yaml.safe_load(text)).build()

    def test_profiles_of_peers_are_of_peers(self, tmp_path: Path) -> None:
        def subject(key: str) -> object:
            path = tmp_path / f"{key}.yaml"
            content = {
                "name": "two",
                "pipeline": {"agents": {"a": {key: ["b"]}, "b": {}}, "answer": "a"},
                "engines": {"a": {"model": "embedded"}, "b": {"model": "embedded"}},
            }
            path.write_text(yaml.safe_dump(content))
            return pipeline_subject(load_scenario(path)).reads["a"]

        assert (subject("reads"), subject("peers")) == (("b",), ("b (peer)",))
