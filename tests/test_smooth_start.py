"""Smooth start: its definition, its neighbours in the field, and one value by every path."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.analytic.candidates import candidates_of
from simulator.analytic.request_form import closed_form
from simulator.compiled.play import play_compiled
from simulator.des.batching import BatchingSetup
from simulator.des.simulate import simulate
from simulator.engine import EngineSetup
from staircase import Schedule, Workload
from staircase.metrics.request_metrics import reader_ps, smooth_start
from staircase.timeline import PS_PER_S
from tests.support.oracle import OracleSetup
from tests.test_closed_form import Alone, random_alone

GROUPS, CASES = 5, 40

times_ps = st.lists(st.integers(0, 1000), min_size=1, max_size=30).map(sorted)


def never_waits(times: list[int], per_token: int, start: int) -> bool:
    """Somebody who begins at ``start``, token by token: whether each is there in time."""
    return all(time <= start + place * per_token for place, time in enumerate(times))


@given(times_ps, st.integers(1, 100))
def test_it_is_the_earliest_moment_without_a_wait(times: list[int], per_token: int) -> None:
    found = int(smooth_start(times, per_token))
    assert never_waits(times, per_token, found)
    assert not never_waits(times, per_token, found - 1)


def fluidity(times: list[int], prefill_deadline: int, decode_deadline: int) -> float:
    """etalon's index (arXiv 2407.07000): the share of tokens within their deadline; time that is
    left over is slack for the next, a missed deadline starts anew."""
    kept, slack = 0, 0
    for place, (before, time) in enumerate(pairwise([0, *times])):
        deadline = prefill_deadline if place == 0 else decode_deadline
        spent = time - before
        is_kept = spent <= deadline + slack
        slack = slack + deadline - spent if is_kept else 0
        kept += is_kept
    return kept / len(times)


@given(times_ps, st.integers(1, 100))
def test_it_is_the_least_deadline_that_is_fluid(times: list[int], per_token: int) -> None:
    found = int(smooth_start(times, per_token))
    assert fluidity(times, found, per_token) == 1
    assert fluidity(times, found - 1, per_token) < 1


def quality_of_experience(times: list[int], ttft: int, per_token: int) -> float:
    """Andes' QoE (arXiv 2404.16283): tokens digested over time against those expected.

    The reader takes one token in ``per_token`` at most; nobody expects one before ``ttft``.
    """
    last = max(times[-1], ttft + (len(times) - 1) * per_token) + per_token
    expected, clock, actual = 0, -per_token, 0
    for place, time in enumerate(times):
        expected += last - (ttft + place * per_token)
        clock = max(time, clock + per_token, ttft + place * per_token)
        actual += last - clock
    return actual / expected


@given(times_ps, st.integers(1, 100))
def test_it_is_the_least_expectation_that_is_met(times: list[int], per_token: int) -> None:
    found = int(smooth_start(times, per_token))
    assert quality_of_experience(times, found, per_token) == 1
    assert quality_of_experience(times, found - 1, per_token) < 1


def test_no_token_has_none() -> None:
    assert np.isnan(smooth_start([], 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_path_gives_one_integer(group: int) -> None:
    """1,200 cases in all: closed form, tables, SimPy, and the token-by-token oracle."""
    seen: Counter[str] = Counter()
    for seed in range(group * CASES, (group + 1) * CASES):
        case = at_once(random_alone(seed))
        rate = PS_PER_S / random.Random(seed).choice([1, 7, 30, 100])
        form = closed_form(
            case.pipeline, Schedule(layout=case.layout), case.setups, case.request, rate
        )
        found = form.play(candidates_of(case.staircases)).smooth_start_ps.tolist()
        for start, staircase in zip(found, case.staircases, strict=True):
            others = starts_of(case, case.schedule(staircase), rate, seen)
            assert others == dict.fromkeys(others, start), f"seed {seed}"
    assert seen["stalls"] > 0
    assert seen["no stalls"] > 0


def at_once(case: Alone) -> Alone:
    """Calls reach their replica as they are made: on the oracle they take no time to arrive."""
    setups: dict[str, EngineSetup] = {
        name: replace(setup, call_ps=0)
        for name, setup in case.setups.items()
        if isinstance(setup, BatchingSetup)
    }
    return replace(case, setups=setups)


def starts_of(case: Alone, schedule: Schedule, rate: float, seen: Counter[str]) -> dict[str, int]:
    workload, step = Workload([case.request]), reader_ps(rate)
    played = play_compiled(case.pipeline, schedule, case.setups, workload, keeps_all_times=True)
    assert played is not None
    column = played.measured(rate).columns["smooth_start_s"]
    slow = {
        name: OracleSetup(setup, Counter())
        for name, setup in case.setups.items()
        if isinstance(setup, BatchingSetup)
    }
    (line,) = simulate(case.pipeline, schedule, case.setups, workload)
    (told,) = simulate(case.pipeline, schedule, slow, workload)
    start = int(smooth_start(line.answer_ps, step))
    seen["stalls" if start > line.answer_ps[0] else "no stalls"] += 1
    return {
        "tables": round(column[0] * PS_PER_S),
        "SimPy": start,
        "oracle": int(smooth_start(told.answer_ps, step)),
    }


def test_it_counts_from_the_arrival() -> None:
    case = random_alone(3)
    schedule, later = case.schedule(case.staircases[0]), 12_345
    rate = PS_PER_S / 7
    workloads = [replace(Workload([case.request]), arrivals_ps=[arrival]) for arrival in (0, later)]
    columns = []
    for workload in workloads:
        played = play_compiled(case.pipeline, schedule, case.setups, workload)
        assert played is not None
        columns.append(played.measured(rate).columns["smooth_start_s"][0])
    assert columns[0] == columns[1]
