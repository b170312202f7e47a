"""The simulator plays what the executor plays: the same calls, and the same tokens from cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from executor.opened_engines import OpenedEngines, open_engines, read_dataset
from executor.runtime import Job, Outcome, Runtime
from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate
from simulator.profiled import setup_of_profile
from staircase import Schedule, constant, geometric, normal, paper_default, uniform
from staircase.pipeline import Pipeline
from staircase.schedule import LAYOUTS
from staircase.spec.engine_spec import EngineSpec
from staircase.spec.scenario import Scenario, load_scenario
from staircase.timeline import Timeline
from staircase.workload import Question, RequestShape, Workload
from tests.support.backends import fixed_profile

DEMO = Path(__file__).parent / "support" / "desk.yaml"


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario(DEMO)


@pytest.fixture(scope="module")
def opened(scenario: Scenario) -> Iterator[OpenedEngines]:
    with open_engines(scenario) as opened:
        yield opened


@pytest.fixture(scope="module")
def fully_read(scenario: Scenario, opened: OpenedEngines) -> list[tuple[Question, Outcome]]:
    """Two questions, which take turns, and what the pipeline writes where everything is read."""
    questions = list(read_dataset(scenario, DEMO.parent, 2, offset=5))
    jobs = [Job(scenario.pipeline.build(), Schedule(), question) for question in questions]
    return list(zip(questions, opened.runtime.run(jobs), strict=True))


def rows(line: Timeline) -> list[tuple[object, ...]]:
    """The editor's calls; where a proposer is cancelled depends on the clock."""
    return [
        (s.step, s.read, s.written, s.prompt_tokens, s.output_tokens, s.reason)
        for s in line.spans
        if s.agent == "editor"
    ]


def cached(line: Timeline) -> list[int]:
    """Of the editor's calls but its first, which may find another request's text."""
    return [s.cached_tokens for s in line.spans if s.agent == "editor" and s.step > 0]


@pytest.mark.parametrize(("number", "layout"), [*enumerate(LAYOUTS)])
@pytest.mark.parametrize("staircase", [normal(), paper_default(), geometric(4, 2.0, 32, 6)])
def test_forecast_plays_the_same_calls(
    scenario: Scenario,
    opened: OpenedEngines,
    fully_read: list[tuple[Question, Outcome]],
    number: int,
    layout: str,
    staircase: object,
) -> None:
    pipeline = scenario.pipeline.build()
    schedule: Schedule = uniform(pipeline, staircase, layout)  # type: ignore[arg-type]
    question, full = fully_read[number % len(fully_read)]
    outcome = opened.runtime.run([Job(pipeline, schedule, question)])[0]
    fixed = {name: len(ids) for name, ids in outcome.ids.items() if "/" in name}
    answer = {pipeline.answer: outcome.timeline.written[pipeline.answer]}
    request = RequestShape(fixed, {**full.timeline.written, **answer})
    engines = {name: SerialSetup(fixed_profile(0.002, 0.001)) for name in pipeline.engines}
    line = simulate(pipeline, schedule, engines, Workload([request]))[0]
    assert rows(line) == rows(outcome.timeline)
    assert cached(line) == cached(outcome.timeline)


@pytest.fixture(scope="module")
def batching(scenario: Scenario) -> Iterator[tuple[Pipeline, EngineSpec, Runtime]]:
    """One engine with a slot for each agent, which batches."""
    drawn = scenario.pipeline.build()
    agents = tuple(replace(agent, engine="editor") for agent in drawn)
    spec = scenario.real["editor"].model_copy(update={"slots": 4})
    with open_engines(scenario.model_copy(update={"engines": {"editor": spec}})) as opened:
        yield replace(drawn, agents=agents), spec, opened.runtime


@pytest.mark.parametrize(("number", "layout"), [*enumerate(LAYOUTS)])
@pytest.mark.parametrize("staircase", [normal(), paper_default()])
def test_forecast_plays_the_same_calls_in_slots(
    fully_read: list[tuple[Question, Outcome]],
    batching: tuple[Pipeline, EngineSpec, Runtime],
    number: int,
    layout: str,
    staircase: object,
) -> None:
    pipeline, spec, runtime = batching
    schedule: Schedule = uniform(pipeline, staircase, layout)  # type: ignore[arg-type]
    question, full = fully_read[number % len(fully_read)]
    outcome = runtime.run([Job(pipeline, schedule, question)])[0]
    fixed = {name: len(ids) for name, ids in outcome.ids.items() if "/" in name}
    answer = {pipeline.answer: outcome.timeline.written[pipeline.answer]}
    request = RequestShape(fixed, {**full.timeline.written, **answer})
    engines = {"editor": setup_of_profile(fixed_profile(0.002, 0.001), spec, "editor")}
    line = simulate(pipeline, schedule, engines, Workload([request]))[0]
    assert rows(line) == rows(outcome.timeline)
    assert cached(line) == cached(outcome.timeline)


def test_concurrent_requests_do_not_mix(scenario: Scenario, opened: OpenedEngines) -> None:
    pipeline = scenario.pipeline.build()
    schedule = uniform(pipeline, constant(12, 12, 8))
    jobs = [Job(pipeline, schedule, q) for q in read_dataset(scenario, DEMO.parent, 3, offset=9)]
    alone = [opened.runtime.run([job])[0].texts for job in jobs]
    together = [outcome.texts for outcome in opened.runtime.run(jobs, concurrency=3)]
    assert together == alone
