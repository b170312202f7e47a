"""Cases that are played by the simulator and, token by token, by ``tests.support.oracle``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from simulator.des.simulate import simulate_all
from staircase.errors import WorkloadError
from staircase.timeline import Timeline
from tests.support.input_oracle import OracleInput
from tests.support.oracle import OracleSetup
from tests.support.random_cases import RandomCase

# Of a test of many cases, and of one of some.
CASES_A_TEST, FEW_CASES = 60, 20
# Tests of many cases, of each kind of schedule or pipeline.
STREAM_TESTS = 17
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


def seeds_of(group: int) -> range:
    return range(group * CASES_A_TEST, (group + 1) * CASES_A_TEST)


def ties(lines: list[Timeline]) -> int:
    """Calls on different engines that ended at the same picosecond."""
    ends = Counter((span.ended_ps) for line in lines for span in line.spans)
    return sum(count - 1 for count in ends.values())
