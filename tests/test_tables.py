"""Compiled tables against the conductor on SimPy: the same integer times, and the same metrics."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from simulator.compiled.play import play_compiled
from simulator.compiled.results import PlayedTables
from simulator.des.simulate import simulate
from simulator.run import run_workload
from staircase import Barrier, Schedule, Timeline, Workload, constant, explicit, moa, uniform
from staircase.errors import WorkloadError
from staircase.metrics.measured import Measured, measure_all
from staircase.metrics.request_metrics import METRICS
from tests.support.random_cases import RandomCase, random_case

GROUPS, CASES = 10, 100


def arriving_case(seed: int) -> RandomCase:
    """Also with arrivals at the same time, calls that take time to arrive, headers that are found
    once a request, and devices that have names."""
    case, rng = random_case(seed, is_timed=False), random.Random(seed)
    workload = case.workload
    if rng.random() < 0.7:
        times = sorted(rng.choice([0, 1, 10, 100, 200, 300]) for _ in workload.requests)
        workload = Workload(workload.requests, arrivals_ps=times)
    setups = {}
    for name, setup in case.setups.items():
        limits = replace(setup.limits, shares_headers=rng.random() < 0.7)
        own_device = setup.replicas == 1 and rng.random() < 0.5
        setups[name] = replace(
            setup,
            call_ps=rng.choice([0, 0, 1, 100, 150]),
            limits=limits,
            device=f"device of {name}" if own_device else None,
        )
    return replace(case, workload=workload, setups=setups)


def compiled(case: RandomCase) -> PlayedTables | None:
    return play_compiled(
        case.pipeline, case.schedule, case.setups, case.workload, keeps_all_times=True
    )


def simulated(case: RandomCase) -> list[Timeline]:
    return simulate(case.pipeline, case.schedule, case.setups, case.workload)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_random_cases(group: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(group * CASES, (group + 1) * CASES):
        case = arriving_case(seed)
        played = compiled(case)
        if played is None:
            continue
        expected = simulated(case)
        assert played.timelines() == expected, f"seed {seed}"
        seen["played"] += 1
        spans = [span for line in expected for span in line.spans]
        seen["cancelled"] += sum(span.reason == "cancelled" for span in spans)
        seen["cached"] += sum(span.cached_tokens > 0 for span in spans)
    assert seen["played"] > CASES / 2
    assert seen["cancelled"] > 0
    assert seen["cached"] > 0


def test_columns_are_the_metrics_of_the_timelines() -> None:
    found = [played for seed in range(20) if (played := compiled(arriving_case(seed)))]
    assert len(found) > 10
    for played in found:
        same_metrics(played.measured(3e9), measure_all(played.timelines(), 3e9))


def same_metrics(one: Measured, other: Measured) -> None:
    assert (one.requests, one.duration_s) == (other.requests, other.duration_s)
    for name in METRICS:
        np.testing.assert_allclose(
            one.columns[name], other.columns[name], rtol=1e-9, atol=1e-15, err_msg=name
        )
    for few, many in zip(one.gaps_s, other.gaps_s, strict=True):
        np.testing.assert_allclose(few, many)


def test_more_open_calls_than_there_was_space_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.compiled.play.CALLS", 1)
    cases = (case for case in map(arriving_case, range(100)) if compiled(case))
    case = next(one for one in cases if len(one.workload.requests) > 4)
    many = replace(case, workload=Workload(list(case.workload.requests) * 40, 200))
    played = compiled(many)
    assert played is not None
    assert played.timelines() == simulated(many)


def test_what_depends_on_the_clock_is_left_to_simpy() -> None:
    case = random_case(1, is_timed=False)
    pipeline = moa([["a", "b"]], "z")
    names = [agent.name for agent in pipeline]
    request = replace(case.workload.requests[0], output_tokens=dict.fromkeys(names, 20))
    setup = next(iter(case.setups.values()))
    setups = dict.fromkeys(pipeline.engines, setup)
    staircases = uniform(pipeline, constant(2, 2, 2)).staircases
    for schedule in (
        Schedule(staircases, barrier=Barrier("quorum", 1)),
        Schedule(staircases, reading="latest"),
        Schedule(staircases, starve="write"),
        Schedule({"z": explicit([(4, 30), (8, 30)])}, early_end="continue"),
    ):
        assert play_compiled(pipeline, schedule, setups, Workload([request])) is None
        run = run_workload(pipeline, schedule, setups, Workload([request]))
        assert run.measured.answered == 1


def test_a_request_that_forgets_an_agent_is_told() -> None:
    case = random_case(1, is_timed=False)
    request = replace(case.workload.requests[0], output_tokens={})
    with pytest.raises(WorkloadError, match="does not say how many tokens"):
        play_compiled(case.pipeline, case.schedule, case.setups, Workload([request]))


@pytest.mark.parametrize("is_timed", [False, True])
def test_both_ways_say_how_busy_the_engines_were(is_timed: bool) -> None:
    case = random_case(2, is_timed=False)
    schedule = replace(case.schedule, reading="latest" if is_timed else "exact")
    run = run_workload(case.pipeline, schedule, case.setups, case.workload)
    assert run.use.keys() == set(case.pipeline.engines)
    assert all(0 < use.utilisation <= 1 for use in run.use.values())
