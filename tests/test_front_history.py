"""What a plan keeps of its front: how it grew, and its members as they were played."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.figures.objectives import Goals, parse_limits, parse_objectives
from planner.report.front_growth import MOST_FRONTS, front_growth
from planner.report.front_members import GAPS, TOKENS, shown_tokens
from planner.results.plans import Candidate
from staircase.metrics.distributions import SHARES, distributions
from staircase.metrics.request_metrics import Summary, smooth_start
from staircase.schedule import Schedule
from staircase.timeline import Timeline, to_s
from tests.support.plans import small_plan

GOALS = Goals(tuple(parse_objectives(["ttft", "unread"])), ())


def candidate(ttft_s: float, unread: float) -> Candidate:
    forecast = {"ttft_s": Summary.of(ttft_s), "unread": Summary.of(unread)}
    return Candidate(Schedule({}), forecast)


points = st.lists(st.tuples(st.floats(0, 9), st.floats(0, 1)), min_size=1, max_size=80)


@given(points)
def test_the_hypervolume_never_falls_and_ends_at_all(found: list[tuple[float, float]]) -> None:
    growth = front_growth([candidate(*point) for point in found], GOALS)
    shares = [one.hypervolume for one in growth]
    # But for the rounding of the last digits.
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(shares))
    assert shares[0] > 0
    assert shares[-1] == pytest.approx(1)
    numbers = [one.simulated for one in growth]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1
    assert numbers[-1] == len(found)
    assert len(growth) <= MOST_FRONTS + 1


def test_only_candidates_within_the_limits_count() -> None:
    goals = Goals(GOALS.objectives, parse_limits({"unread": 0.5}))
    growth = front_growth([candidate(1, 0.9), candidate(3, 0.4), candidate(2, 0.6)], goals)
    assert [(one.simulated, one.hypervolume) for one in growth] == [(2, 1), (3, 1)]


def test_of_many_objectives_there_is_none() -> None:
    goals = Goals(tuple(parse_objectives(["ttft", "ttft.p90", "unread", "unread.p90"])), ())
    assert front_growth([candidate(1, 0.9)], goals) == ()


@given(st.lists(st.integers(1, 10**12), max_size=400), st.integers(1, 10**12))
def test_the_tokens_kept_have_the_same_smooth_start(gaps: list[int], step_ps: int) -> None:
    answer_ps = np.cumsum(gaps, dtype=np.int64).tolist()
    shown = shown_tokens(answer_ps, step_ps)
    assert shown == sorted(set(shown))
    assert len(shown) <= TOKENS + 2 * GAPS + 1
    if answer_ps:
        assert (shown[0], shown[-1]) == (1, len(answer_ps))
        kept = max(answer_ps[token - 1] - (token - 1) * step_ps for token in shown)
        assert kept == smooth_start(answer_ps, step_ps)


def answered(times: list[int]) -> Timeline:
    return Timeline(0, 0, times[-1] if times else 0, (), tuple(times), {})


def test_distributions_go_from_the_least_to_the_most() -> None:
    lines = [answered([10**9 * (3 + n), 10**9 * (5 + 3 * n)]) for n in range(5)]
    found = distributions(lines)
    assert len(found["ttft_s"]) == len(SHARES)
    assert found["ttft_s"][0] == to_s(3 * 10**9)
    assert found["ttft_s"][len(SHARES) // 2] == to_s(5 * 10**9)
    assert found["itl_s"][-1] == to_s(10 * 10**9)
    assert list(found["itl_s"]) == sorted(found["itl_s"])


def test_of_answers_of_one_token_there_are_no_gaps() -> None:
    assert distributions([answered([7])]).keys() == {"ttft_s"}


def test_a_plan_keeps_its_front_as_it_was_played() -> None:
    plan = small_plan(trials=12)
    assert plan.explanation
    assert [one.number for one in plan.explanation.front] == list(plan.front)
    line = plan.explanation.timelines["chosen"]
    member = next(one for one in plan.explanation.front if one.number == plan.chosen)
    calls = [span for span in line.spans if span.agent == plan.explanation.answer]
    assert member.written == tuple(span.written for span in calls)
    assert sum(member.output_tokens) == len(line.answer_ps)
    assert [line.answer_ps[token - 1] for token in member.tokens] == list(member.answer_ps)
