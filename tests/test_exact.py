"""The compiled replica and the token-by-token oracle agree to the picosecond (invariants I1–I8)."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.simulate import simulate
from staircase.errors import WorkloadError
from staircase.timeline import Timeline
from tests.support.oracle import OracleSetup
from tests.support.random_cases import RandomCase, drawn_case, random_case

CASES_A_TEST = 60
TESTS = 20


def check(case: RandomCase, seen: Counter[str]) -> list[Timeline]:
    """Plays the case both ways; the fast way also recounts its books after every event."""
    slow = {name: OracleSetup(setup, seen) for name, setup in case.setups.items()}
    fast = {name: replace(setup, is_checked=True) for name, setup in case.setups.items()}
    try:
        played = simulate(case.pipeline, case.schedule, fast, case.workload)
    except WorkloadError:
        seen["too long for the KV"] += 1
        return []
    assert played == simulate(case.pipeline, case.schedule, slow, case.workload)
    return played


@pytest.mark.slow
@pytest.mark.parametrize("group", range(TESTS))
def test_random_cases(group: int) -> None:
    """1,200 cases in all, with preemption, eviction, cache hits and exact ties in every group."""
    seen: Counter[str] = Counter()
    for seed in range(group * CASES_A_TEST, (group + 1) * CASES_A_TEST):
        try:
            lines = check(random_case(seed), seen)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        seen["ties"] += ties(lines)
    assert min(seen[what] for what in ("preemptions", "evictions", "cached tokens", "ties")) > 0


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_cases_that_hypothesis_draws(rng: random.Random) -> None:
    check(drawn_case(rng), Counter())


def ties(lines: list[Timeline]) -> int:
    """Calls on different engines that ended at the same picosecond."""
    ends = Counter((span.ended_ps) for line in lines for span in line.spans)
    return sum(count - 1 for count in ends.values())


def test_same_case_same_times() -> None:
    one, two = (check(random_case(7), Counter()) for _ in range(2))
    assert one == two


def test_nothing_is_left_behind() -> None:
    for seed in range(2000, 2020):
        case = random_case(seed)
        for line in check(case, Counter()):
            assert line.error is None
            assert len(line.answer_ps) == line.written[case.pipeline.answer]
            for span in line.spans:
                assert span.submitted_ps <= span.started_ps <= span.ended_ps
