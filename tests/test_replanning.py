"""A served plan that is followed: who is heard, what drift is, and when a new plan is served."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from executor.gateway.answering import PlanService
from executor.gateway.figures import GatewayMetrics
from executor.gateway.presence import Presence
from executor.gateway.served_plan import CHOSEN, Point, ServedPlan
from executor.runtime import Outcome, Runtime
from planner.results.plans import Plan
from planner.tuning.planning_process import PlanningProcess
from planner.tuning.replanning import (
    ENOUGH,
    MOST_CALL_S,
    MOST_TIMES,
    Replanner,
    ServedRuns,
    within_bounds,
)
from planner.tuning.run_log import PlayedRun
from profiles.latency.profile import LatencyProfile
from profiles.latency.tuning import Correction
from profiles.store import provenance_of_now
from simulator.profile_forecaster import ProfileForecaster
from staircase import Schedule, constant, uniform
from staircase.errors import PlanError
from staircase.workload import Workload
from tests.support.gateway_server import PLAN, Running, plan_on, running, scripted
from tests.support.refusing import refuse
from tests.support.scripted_engine import ScriptedEngine
from tests.test_profiled import ENGINES, PIPELINE, profile, request

SCHEDULE = uniform(PIPELINE, constant(4, 4, 4))
POINT = Point(CHOSEN, PIPELINE, SCHEDULE)


def forecaster(slower: float = 1.0) -> ProfileForecaster:
    """Of a machine that takes ``slower`` times as long."""
    latency = LatencyProfile(dict.fromkeys("abz", profile().scaled(slower)), provenance_of_now())
    return ProfileForecaster(PIPELINE, latency, None, ENGINES, request(PIPELINE))


def outcome(slower: float, schedule: Schedule = SCHEDULE) -> Outcome:
    """What such a machine makes of the request."""
    # As models do, they end their texts by a token that is not shown.
    shape = replace(request(PIPELINE).requests[0], ends_with="stop")
    (line,) = forecaster(slower).play(schedule, Workload([shape])).timelines
    ids = {name: [0] * count for name, count in shape.fixed_tokens.items()}
    return Outcome(line, ids, dict.fromkeys("abz", ""), ())


def test_who_is_alone() -> None:
    presence = Presence()
    with presence.entered() as is_alone:
        assert is_alone()
        with presence.entered() as also:
            assert not also()
        assert not is_alone()
    with presence.entered() as is_alone:
        assert is_alone()


@pytest.mark.parametrize("slower", [0.6, 1.0, 1.4])
def test_drift_is_how_much_longer_the_same_takes(slower: float) -> None:
    seen = ServedRuns(forecaster())
    for _ in range(ENOUGH - 1):
        seen.add(POINT, outcome(slower))
    assert seen.drift == 1
    seen.add(POINT, outcome(slower))
    assert seen.drift == pytest.approx(slower, rel=0.01)
    assert seen.is_off == (slower != 1.0)


def test_what_says_nothing_of_the_pace_is_not_counted() -> None:
    seen = ServedRuns(forecaster())
    shorter = replace(PIPELINE, agents=tuple(replace(one, max_tokens=9) for one in PIPELINE))
    seen.add(replace(POINT, pipeline=shorter), outcome(1.4))
    spans = tuple(replace(span, reason="cancelled") for span in outcome(1.4).timeline.spans)
    cut = outcome(1.4)
    seen.add(POINT, replace(cut, timeline=replace(cut.timeline, spans=spans)))
    assert not seen.runs


def test_a_correction_has_bounds() -> None:
    known = {"a": Correction(1.0, 1.0, 1.2, 0.0)}
    far = {"a": Correction(9.0, 0.1, 0.0, 7.0)}
    assert within_bounds(far, known) == {
        "a": Correction(MOST_TIMES, 1 / MOST_TIMES, 1.0, MOST_CALL_S)
    }
    near = {"a": Correction(1.3, 0.9, 1.5, 0.01)}
    assert within_bounds(near, known) == near


def served_as(name: str) -> ServedPlan:
    return ServedPlan(name, Runtime({}), {CHOSEN: POINT}, [POINT])


def follow(plan_by: Replanner, slower: float, count: int) -> None:
    """As a server's loop does; until everything is compared."""

    async def hear() -> None:
        for _ in range(count):
            plan_by.hear(POINT, outcome(slower))
        await asyncio.get_running_loop().run_in_executor(plan_by.thread, lambda: None)
        await asyncio.sleep(0)

    asyncio.run(hear())


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as found:
        yield found


def replanner(thread: ThreadPoolExecutor, planned: list[int], fails: bool = False) -> Replanner:
    service = PlanService(served_as(PLAN), GatewayMetrics(), None, 1.0)  # type: ignore[arg-type]

    def make_plan(runs: Sequence[PlayedRun]) -> tuple[Plan, LatencyProfile]:
        planned.append(len(runs))
        if fails:
            raise PlanError("none of 3 schedules keeps the limits")
        return "plan", forecaster(1.4).latency  # type: ignore[return-value]

    seen = ServedRuns(forecaster())
    return Replanner(service, seen, make_plan, lambda plan: served_as(f"{PLAN} again"), thread)


def test_a_new_plan_is_served_once_the_pace_is_another(thread: ThreadPoolExecutor) -> None:
    planned: list[int] = []
    plan_by = replanner(thread, planned)
    follow(plan_by, 1.4, ENOUGH - 1)
    assert (planned, plan_by.service.plan.name) == ([], PLAN)
    follow(plan_by, 1.4, 2 * ENOUGH)
    # The new profile says what is seen, so that is all.
    assert (planned, plan_by.service.plan.name) == ([ENOUGH], f"{PLAN} again")
    assert plan_by.seen.drift == pytest.approx(1, rel=0.01)


def test_the_plan_stays_where_there_is_no_other(thread: ThreadPoolExecutor) -> None:
    planned: list[int] = []
    plan_by = replanner(thread, planned, fails=True)
    follow(plan_by, 1.4, ENOUGH + 1)
    assert (planned, plan_by.service.plan.name) == ([ENOUGH], PLAN)
    told = {
        sample.name: sample.value
        for family in text_string_to_metric_families(plan_by.service.figures.text().decode())
        for sample in family.samples
        if sample.labels.get("ended") == "failed"
    }
    assert told["staircase_replans_total"] == 1


def test_a_process_returns_what_it_finds_or_raises() -> None:
    process = PlanningProcess()
    assert process.call(sum, [1, 2, 3]) == 6
    with pytest.raises(PlanError, match=r"^no schedule$"):
        process.call(refuse, "no schedule")


def test_a_process_ends_with_its_server() -> None:
    process = PlanningProcess()
    began = time.monotonic()
    threading.Timer(1.0, process.close).start()
    with pytest.raises(PlanError, match="was ended"):
        process.call(time.sleep, 60)
    assert time.monotonic() - began < 30


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    quick = {name: ScriptedEngine(12, 0.0, 0.02) for name in ("ann", "bo", "ed")}
    with running(plan_on(scripted(**quick))) as found:
        yield found


def test_answers_that_are_whole_and_alone_are_heard(server: Running) -> None:
    heard: list[str] = []
    service = server.gateway.service(PLAN)
    service.on_alone = lambda point, outcome: heard.append(point.name)
    body = {"model": PLAN, "messages": [{"role": "user", "content": "why"}]}

    def ask(**more: object) -> None:
        httpx.post(f"{server.url}/chat/completions", json=body | more, timeout=20)

    ask()
    assert heard == [CHOSEN]
    ask(deadline_s=0.1)
    assert heard == [CHOSEN]
    both = [threading.Thread(target=ask) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(heard) == 1
