"""The compiled replica and the token-by-token oracle agree to the picosecond (invariants I1–I8)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.des.simulate import simulate_all
from staircase.errors import WorkloadError
from staircase.timeline import Timeline
from tests.support.checked_readers import check_readers
from tests.support.input_oracle import OracleInput
from tests.support.oracle import OracleSetup
from tests.support.random_cases import (
    RandomCase,
    checked_case,
    drawn_case,
    fork_case,
    input_case,
    peer_case,
    random_case,
    sharing_case,
    thinking_case,
    update_case,
    vote_case,
)

CASES_A_TEST, FEW_CASES = 60, 20
TESTS, SHARING_TESTS, STREAM_TESTS = 20, 10, 17
WAITS = "waits for room for all of a prompt"
EVENTS = "preemptions", "evictions", "cached tokens", "ties"


def check(case: RandomCase, seen: Counter[str]) -> list[Timeline]:
    """Plays the case both ways; the fast way also recounts its books after every event."""
    slow = {name: OracleSetup(setup, seen) for name, setup in case.setups.items()}
    fast = {name: replace(setup, is_checked=True) for name, setup in case.setups.items()}
    try:
        played = simulate_all(case.pipeline, case.schedule, fast, case.workload)
    except WorkloadError:
        seen["too long for the KV"] += 1
        return []
    with slow_inputs():
        assert played == simulate_all(case.pipeline, case.schedule, slow, case.workload)
    spans = [span for line in played.timelines for span in line.spans if not span.has_model]
    seen["fallen"] += sum(s.fallen_tokens for line in played.timelines for s in line.spans)
    every = [span for line in played.timelines for span in line.spans]
    seen["kept"] += sum(span.kept_tokens for span in every)
    seen["taken back"] += sum(span.checked_tokens - span.kept_tokens for span in every)
    seen["inputs cut off"] += sum(span.reason == "cancelled" for span in spans)
    for line in played.timelines:
        for name, found in line.votes.items():
            seen["votes"] += 1
            asked = [one for one in case.pipeline[name].reads if case.pipeline[one].has_engine]
            seen["decided early"] += any(
                span.agent in asked and span.reason == "cancelled" for span in line.spans
            )
            seen["never asked"] += found.asked < len(asked)
    return list(played.timelines)


@contextmanager
def slow_inputs() -> Iterator[None]:
    """Inputs come segment by segment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.des.simulate.InputClock", OracleInput)
        yield


def check_all(cases: Iterable[RandomCase]) -> Counter[str]:
    """Plays every case both ways; returns how often what happened."""
    seen: Counter[str] = Counter()
    for number, case in enumerate(cases):
        try:
            seen["ties"] += ties(check(case, seen))
        except AssertionError as error:
            raise AssertionError(f"case {number}: {error}") from error
    return seen


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
def test_random_cases_with_votes(group: int) -> None:
    """1,020 cases in all."""
    check_votes(seeds_of(group))


def test_some_random_cases_with_votes() -> None:
    check_votes(range(FEW_CASES))


def check_votes(seeds: Iterable[int]) -> None:
    """In every group votes are decided before all have ended, and before all were asked."""
    seen = check_all(map(vote_case, seeds))
    assert min(seen[what] for what in (*EVENTS, "votes", "decided early", "never asked")) > 0


def seeds_of(group: int) -> range:
    return range(group * CASES_A_TEST, (group + 1) * CASES_A_TEST)


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
