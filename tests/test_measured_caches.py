"""What a request finds in a cache does not depend on what was played before it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import permutations

import pytest

from executor.engine import EngineCall
from executor.inprocess.device import Device
from executor.inprocess.opening import _engine
from executor.runtime import Job, Runtime, ServedModel
from simulator.des.simulate import simulate
from simulator.profiled import setup_of_profile
from staircase import Schedule, constant, moa, uniform
from staircase.spec.engine_spec import EngineSpec
from staircase.timeline import Timeline
from staircase.workload import Question, RequestShape, Workload
from tests.support.backends import FORM, _fixed_tokens, fixed_profile, random_model

AGENTS = tuple(replace(agent, max_tokens=12, role=agent.name) for agent in moa([["a", "b"]], "z"))
PIPELINE = replace(moa([["a", "b"]], "z"), agents=AGENTS)
SCHEDULES = {
    "append": uniform(PIPELINE, constant(4, 4, 4), "append_rounds"),
    "rebuild": uniform(PIPELINE, constant(3, 5, 6), "rebuild"),
    "normal": Schedule(),
}
# They begin alike, as many questions do.
QUESTIONS = [Question("why so"), Question("why no"), Question("whence")]
Cached = list[tuple[str, int]]


def cached(line: Timeline) -> Cached:
    return [(span.agent, span.cached_tokens) for span in line.spans]


def measured(slots: int, order: Sequence[str]) -> dict[str, list[Cached]]:
    """Of every schedule, each question after the other; first one is asked that does not count."""
    model = random_model("llama", 3)
    spec = EngineSpec(model="tiny", slots=slots)
    jobs = [Job(PIPELINE, SCHEDULES[name], one) for one in QUESTIONS for name in order]
    with ExitStack() as stack:
        device = stack.enter_context(Device())
        served = {n: ServedModel(_engine(spec, model, device), FORM) for n in PIPELINE.engines}
        runtime = Runtime(served)
        runtime.run([Job(PIPELINE, Schedule(), Question("go on!"))])
        lines = [outcome.timeline for outcome in runtime.run(jobs)]
    return {name: [cached(one) for one in lines[n :: len(order)]] for n, name in enumerate(order)}


def forecast(slots: int, name: str) -> list[Cached]:
    """Also after one that does not count."""
    spec = EngineSpec(model="tiny", slots=slots)
    setups = {n: setup_of_profile(fixed_profile(), spec, n) for n in PIPELINE.engines}
    fixed = dict(_fixed_tokens(PIPELINE))
    for agent in PIPELINE:
        fixed[f"query/{agent.name}"] = len(FORM.query.format(query=QUESTIONS[0].query))
    shape = RequestShape(fixed, {agent.name: agent.max_tokens for agent in PIPELINE})
    lines = simulate(PIPELINE, SCHEDULES[name], setups, Workload([shape] * 4))
    return [cached(line) for line in lines[1:]]


@pytest.mark.parametrize("slots", [1, 2])
def test_cached_tokens_are_those_of_the_forecast_in_any_order(slots: int) -> None:
    expected = {name: forecast(slots, name) for name in SCHEDULES}
    for order in permutations(SCHEDULES):
        assert measured(slots, order) == expected


@pytest.mark.parametrize(
    ("owner", "left_by", "found"), [("x", "x", 5), ("x", "y", 2), ("x", "", 2), ("", "y", 5)]
)
def test_of_another_request_only_the_header_counts(owner: str, left_by: str, found: int) -> None:
    call = EngineCall((0, 0), [1, 2, 3, 4, 5, 6], 1, owner=owner, header_tokens=2)
    assert call.reusable([1, 2, 3, 4, 5, 9, 9], left_by) == found
