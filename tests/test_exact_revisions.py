"""Texts that others read while they come, or that fall: the simulator and the token-by-token oracle
agree to the picosecond."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from tests.support.checked_readers import check_readers
from tests.support.played_both_ways import (
    EVENTS,
    FEW_CASES,
    STREAM_TESTS,
    check,
    check_all,
    seeds_of,
    ties,
)
from tests.support.random_cases import (
    checked_case,
    input_case,
    trigger_case,
    update_case,
    window_case,
)
from tests.support.window_oracle import check_windows


@pytest.mark.slow
@pytest.mark.parametrize("group", range(STREAM_TESTS))
def test_random_cases_with_inputs(group: int) -> None:
    """1,020 cases in all."""
    check_inputs(seeds_of(group))


def test_some_random_cases_with_inputs() -> None:
    check_inputs(range(FEW_CASES))


def check_inputs(seeds: Iterable[int]) -> None:
    """In every group inputs are cut off, and come at the times of other things."""
    seen = check_all(map(input_case, seeds))
    assert min(seen[what] for what in (*EVENTS, "inputs cut off")) > 0


@pytest.mark.slow
@pytest.mark.parametrize("group", range(STREAM_TESTS))
def test_random_cases_with_updates(group: int) -> None:
    """1,020 cases in all."""
    check_updates(seeds_of(group))


def test_some_random_cases_with_updates() -> None:
    check_updates(range(FEW_CASES))


def check_updates(seeds: Iterable[int]) -> None:
    """In every group what was written on a text that was replaced falls."""
    seen = check_all(map(update_case, seeds))
    assert min(seen[what] for what in ("cached tokens", "ties", "fallen")) > 0


@pytest.mark.slow
@pytest.mark.parametrize("group", range(STREAM_TESTS))
def test_random_cases_with_checks(group: int) -> None:
    """1,020 cases in all."""
    check_checks(seeds_of(group))


def test_some_random_cases_with_checks() -> None:
    check_checks(range(FEW_CASES))


def check_checks(seeds: Iterable[int]) -> None:
    """In every group some text stands when it is checked, and some does not."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        case = checked_case(seed)
        lines = check(case, seen)
        seen["ties"] += ties(lines)
        check_readers(case, lines)
    assert min(seen[what] for what in (*EVENTS, "fallen", "kept", "taken back")) > 0


@pytest.mark.slow
@pytest.mark.parametrize("group", range(STREAM_TESTS))
def test_random_cases_with_windows(group: int) -> None:
    """1,020 cases in all."""
    check_dropped(seeds_of(group))


def test_some_random_cases_with_windows() -> None:
    check_dropped(range(FEW_CASES))


def check_dropped(seeds: Iterable[int]) -> None:
    """In every group windows move on, and some prompts find the one before in the cache."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        case = window_case(seed)
        seen["ties"] += ties(check(case, seen))
        check_windows(case, seen)
    assert min(seen[what] for what in (*EVENTS, "fallen", "dropped", "moved", "stayed")) > 0


@pytest.mark.slow
@pytest.mark.parametrize("group", range(STREAM_TESTS))
def test_random_cases_with_triggers(group: int) -> None:
    """1,020 cases in all."""
    check_triggers(seeds_of(group))


def test_some_random_cases_with_triggers() -> None:
    check_triggers(range(FEW_CASES))


def check_triggers(seeds: Iterable[int]) -> None:
    """In every group items that begin start branches, an answer among them, and some that started
    start again, as their item fell."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        case = trigger_case(seed)
        lines = check(case, seen)
        seen["ties"] += ties(lines)
        answer = case.pipeline[case.pipeline.answer]
        seen["answers"] += bool(answer.fork)
        for line in lines:
            for agent in case.pipeline:
                first = [s for s in line.spans if s.agent == agent.name and s.step == 0]
                is_early = bool(agent.fork and agent.fork.starts_when == "begun" and first)
                seen["begun"] += is_early
                seen["again"] += is_early and len({one.submitted_ps for one in first}) > 1
    assert min(seen[what] for what in ("cached tokens", "ties", "answers", "begun", "again")) > 0
