"""The compiled replica and the token-by-token oracle agree to the picosecond."""

from __future__ import annotations

import pytest

from simulator.simulate import simulate
from tests.support.oracle import OracleSetup
from tests.support.random_cases import RandomCase, random_case

CASES_A_TEST = 50
TESTS = 24


def check(case: RandomCase) -> None:
    slow = {name: OracleSetup(setup) for name, setup in case.setups.items()}
    expected = simulate(case.pipeline, case.schedule, slow, case.workload)
    assert simulate(case.pipeline, case.schedule, case.setups, case.workload) == expected


@pytest.mark.slow
@pytest.mark.parametrize("group", range(TESTS))
def test_random_cases(group: int) -> None:
    for seed in range(group * CASES_A_TEST, (group + 1) * CASES_A_TEST):
        try:
            check(random_case(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
