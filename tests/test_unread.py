"""The unread share: by hand, and the same from tables of calls as from timelines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.compiled.play import play_compiled
from simulator.des.simulate import simulate
from simulator.run import run_workload
from simulator.setups import setup_of
from simulator.unread import unread_of_tables, unread_of_timeline
from staircase import RequestShape, Schedule, Workload, constant, explicit, moa, normal, uniform
from staircase.spec.simulated_spec import SimulatedSpec
from tests.support.random_cases import random_case

PIPELINE = moa([["a", "b"]], "z")
SHAPE = RequestShape({f"query/{name}": 4 for name in "abz"}, {"a": 30, "b": 10, "z": 20})


def unread(schedule: Schedule, shape: RequestShape = SHAPE) -> float:
    spec = SimulatedSpec(kind="simulated", decode_tokens_per_s=100, prefill_tokens_per_s=1000)
    engines = {name: setup_of(spec) for name in PIPELINE.engines}
    return float(run_workload(PIPELINE, schedule, engines, Workload([shape])).unread[0])


def test_reading_all_first_leaves_nothing_unread() -> None:
    assert unread(uniform(PIPELINE, normal())) == 0.0


def test_by_hand() -> None:
    # 5 tokens with 20 of 40 read, 5 with 30 of 40, the rest with all.
    schedule = uniform(PIPELINE, explicit([(10, 5), (20, 5), (30, 5)]))
    assert unread(schedule) == pytest.approx((5 * 20 / 40 + 5 * 10 / 40) / 20)


def test_an_answer_that_ends_before_it_has_read_all() -> None:
    assert unread(uniform(PIPELINE, constant(4, 4, 100))) == pytest.approx(1 - 8 / 40)


def test_sources_without_tokens_leave_nothing_unread() -> None:
    shape = RequestShape(SHAPE.fixed_tokens, {"a": 0, "b": 0, "z": 5})
    assert unread(uniform(PIPELINE, constant(4, 4, 4)), shape) == 0.0


def test_who_is_not_asked_is_unread() -> None:
    # Of 40 tokens, b's 10 are never read; on steps, 20 for 5 tokens and then those 10.
    assert unread(Schedule(without=("b",))) == pytest.approx(10 / 40)
    steps = replace(uniform(PIPELINE, explicit([(20, 5)])), without=("b",))
    assert unread(steps) == pytest.approx((5 * 20 / 40 + 15 * 10 / 40) / 20)


def test_tables_and_timelines_say_the_same() -> None:
    compared = 0
    for seed in range(60):
        case = random_case(seed, is_timed=False)
        played = play_compiled(case.pipeline, case.schedule, case.setups, case.workload)
        if played is None:
            continue
        lines = simulate(case.pipeline, case.schedule, case.setups, case.workload)
        numbers = played.requests["table"]
        firsts = [case.workload.requests[n] for n in np.unique(numbers, return_index=True)[1]]
        found = unread_of_tables(case.pipeline, played.tables, firsts)[numbers]
        assert np.all((found >= -1e-9) & (found <= 1 + 1e-9))
        for number, (line, shape) in enumerate(zip(lines, case.workload.requests, strict=True)):
            # A reader that was cancelled counts as far as it came in one, to its end in the other.
            if all(
                line.written[agent.name] == min(shape.output_tokens[agent.name], agent.max_tokens)
                for agent in case.pipeline.readers
            ):
                expected = unread_of_timeline(case.pipeline, case.schedule, line, shape)
                assert found[number] == pytest.approx(expected)
                compared += expected > 0
    assert compared > 90
