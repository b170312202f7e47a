"""The compiled replica and the token-by-token oracle agree to the picosecond (invariants I1–I8)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from staircase.timeline import Timeline
from tests.support.played_both_ways import (
    CASES_A_TEST,
    EVENTS,
    FEW_CASES,
    STREAM_TESTS,
    check,
    check_all,
    seeds_of,
    ties,
)
from tests.support.random_cases import (
    RandomCase,
    drawn_case,
    fork_case,
    peer_case,
    random_case,
    sharing_case,
    thinking_case,
    vote_case,
)

TESTS, SHARING_TESTS = 20, 10
WAITS = "waits for room for all of a prompt"


@pytest.mark.slow
@pytest.mark.parametrize("group", range(TESTS))
def test_random_cases(group: int) -> None:
    """1,200 cases in all, with preemption, eviction, cache hits and exact ties in every group."""
    seen = check_all(map(random_case, seeds_of(group)))
    assert min(seen[what] for what in EVENTS) > 0


@pytest.mark.slow
@pytest.mark.parametrize("group", range(SHARING_TESTS))
def test_random_cases_on_shared_devices(group: int) -> None:
    """600 cases in all; in every group replicas wait for their device too."""
    seen = check_all(map(sharing_case, seeds_of(group)))
    assert min(seen[what] for what in (*EVENTS, "waits for the device")) > 0


@pytest.mark.parametrize("cases", [FEW_CASES, pytest.param(CASES_A_TEST, marks=pytest.mark.slow)])
def test_random_cases_that_think(cases: int) -> None:
    """Thoughts are made and cached like texts, which nobody reads."""
    seen = check_all(map(thinking_case, range(cases)))
    assert min(seen[what] for what in EVENTS) > 0


@pytest.mark.parametrize("cases", [FEW_CASES, pytest.param(CASES_A_TEST, marks=pytest.mark.slow)])
def test_random_cases_of_prompts_that_are_never_cut(cases: int) -> None:
    seen = check_all(random_case(seed).with_whole_prompts() for seed in range(cases))
    assert min(seen[what] for what in (*EVENTS, WAITS)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("group", range(STREAM_TESTS))
def test_random_cases_with_peers(group: int) -> None:
    """1,020 cases in all; every play ends, whoever reads whom."""
    check_peers(seeds_of(group))


def test_some_random_cases_with_peers() -> None:
    check_peers(range(FEW_CASES))


def check_peers(seeds: Iterable[int]) -> None:
    """In every group there are agents that read each other, and more than one step of them."""
    cases = [peer_case(seed) for seed in seeds]
    seen = check_all(cases)
    assert min(seen[what] for what in EVENTS) > 0
    assert sum(map(has_mutual_readers, cases)) > 0


def has_mutual_readers(case: RandomCase) -> bool:
    return any(
        agent.name in case.pipeline[name].reads for agent in case.pipeline for name in agent.reads
    )


@pytest.mark.slow
@pytest.mark.parametrize("group", range(STREAM_TESTS))
def test_random_cases_with_forks(group: int) -> None:
    """1,020 cases in all; every play ends, however many items there are."""
    check_forks(seeds_of(group))


def test_some_random_cases_with_forks() -> None:
    check_forks(range(FEW_CASES))


def check_forks(seeds: Iterable[int]) -> None:
    """In every group branches start before their source ends and after it, and some never do."""
    cases = [fork_case(seed) for seed in seeds]
    seen: Counter[str] = Counter()
    for case in cases:
        lines = check(case, seen)
        seen["ties"] += ties(lines)
        for line in lines:
            seen.update(starts_of_branches(case, line))
    assert min(seen[what] for what in (*EVENTS, "early", "late", "never")) > 0


def starts_of_branches(case: RandomCase, line: Timeline) -> Iterator[str]:
    """Whether each started before its source ended."""
    ends: dict[str, int] = {}
    for span in line.spans:
        ends[span.agent] = max(ends.get(span.agent, 0), span.ended_ps)
    for agent in case.pipeline:
        if agent.fork:
            first = next((span for span in line.spans if span.agent == agent.name), None)
            is_early = first and first.submitted_ps < ends[agent.fork.source]
            yield "never" if first is None else "early" if is_early else "late"


@pytest.mark.slow
@pytest.mark.parametrize("group", range(STREAM_TESTS))
def test_random_cases_with_votes(group: int) -> None:
    """1,020 cases in all."""
    check_votes(seeds_of(group))


def test_some_random_cases_with_votes() -> None:
    check_votes(range(FEW_CASES))


def check_votes(seeds: Iterable[int]) -> None:
    """In every group votes are decided before all have ended, and before all were asked."""
    seen = check_all(map(vote_case, seeds))
    assert min(seen[what] for what in (*EVENTS, "votes", "decided early", "never asked")) > 0


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_cases_that_hypothesis_draws(rng: random.Random) -> None:
    check(drawn_case(rng), Counter())


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
