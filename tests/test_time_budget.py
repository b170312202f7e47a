"""A budget ends a measurement between blocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from planner.profiling.time_budget import TimeBudget


class Clock:
    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def done(seconds: float | None, blocks: list[float], until: float) -> tuple[int, float]:
    """How many of ``blocks``, each of so many seconds, are done, and when that is."""
    clock, count = Clock(), 0
    for block in TimeBudget(seconds, clock).blocks(blocks, until):
        clock.s += block
        count += 1
    return count, clock.s


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9))
def test_without_one_all_are_done(blocks: list[float]) -> None:
    assert done(None, blocks, 0.5) == (len(blocks), sum(blocks))


@given(st.integers(1, 40), st.floats(0.1, 100), st.floats(0.05, 1))
def test_blocks_that_take_as_long_end_in_time(count: int, seconds: float, until: float) -> None:
    found, ended = done(seconds, [1.0] * count, until)
    # The first is done in any case.
    assert found == max(1, min(count, int(until * seconds)))
    assert ended <= max(1.0, until * seconds)


def test_what_is_left_is_a_share() -> None:
    clock = Clock()
    budget = TimeBudget(10.0, clock)
    clock.s = 8.0
    assert budget.is_left(0.8)
    clock.s = 8.1
    assert not budget.is_left(0.8)
    assert TimeBudget(None, clock).is_left(0.0)
