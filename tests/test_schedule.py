from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from staircase import Barrier, Schedule, Staircase, Step, constant, explicit, geometric, moa, normal
from staircase.errors import ScheduleError
from staircase.schedule import parse_staircase

SMALL = st.integers(1, 64)
STAIRCASES = st.one_of(
    st.just(normal()),
    st.builds(constant, st.integers(0, 64), SMALL, SMALL),
    st.builds(
        lambda f, r, c, w: geometric(f, r, f + c, w), SMALL, st.floats(1.01, 4), SMALL, SMALL
    ),
    st.lists(st.tuples(st.integers(0, 99), SMALL), max_size=6).map(
        lambda pairs: explicit(zip(sorted(r for r, _ in pairs), (w for _, w in pairs), strict=True))
    ),
)


@given(STAIRCASES)
def test_staircases_never_unread(staircase: Staircase) -> None:
    last = 0
    for number in range(30):
        step = staircase.step(number)
        if step.read is None:
            assert step.write is None
            return
        assert step.read >= last
        assert step.write is not None
        assert step.write >= 1
        last = step.read


def test_families() -> None:
    assert normal().step(0) == Step(None, None)
    assert [constant(8, 16, 4).step(n).read for n in range(3)] == [8, 24, 40]
    chunks = [geometric(4, 2.0, 20, 4).step(n).read for n in range(5)]
    assert chunks == [4, 12, 28, 48, 68]
    assert explicit([(3, 1)]).step(1) == Step(None, None)


@pytest.mark.parametrize(
    ("text", "staircase"),
    [
        ("normal", normal()),
        ("constant:8,16,4", constant(8, 16, 4)),
        ("geometric:4,2,20,4", geometric(4, 2.0, 20, 4)),
        ("steps:4/2,9/3", explicit([(4, 2), (9, 3)])),
    ],
)
def test_staircases_in_a_word(text: str, staircase: Staircase) -> None:
    assert parse_staircase(text) == staircase


@pytest.mark.parametrize("text", ["", "constant:8", "steps:4", "normal:1", "constant:a,b,c"])
def test_other_words_are_told(text: str) -> None:
    with pytest.raises(ScheduleError, match="give normal"):
        parse_staircase(text)


@pytest.mark.parametrize(
    "build",
    [
        lambda: explicit([(8, 4), (4, 4)]),
        lambda: explicit([(8, 0)]),
        lambda: constant(-1, 4, 4),
        lambda: constant(8, 0, 4),
        lambda: geometric(8, 0.5, 9, 4),
        lambda: geometric(8, 1.0001, 9, 4),
        lambda: Barrier("quorum"),
        lambda: Barrier("grace", count=1),
        lambda: Schedule(layout="sideways"),  # type: ignore[arg-type]  # pyright: ignore
        lambda: Schedule({"a": normal()}).check(moa([["a"]], "z")),
        lambda: Schedule(without=("a",)).check(moa([["a"]], "z")),
        lambda: Schedule(without=("z",)).check(moa([["a", "b"]], "z")),
        lambda: Schedule(without=("c",)).check(moa([["a", "b"], ["c", "d"]], "z")),
    ],
)
def test_wrong_schedules_are_told(build: object) -> None:
    with pytest.raises(ScheduleError):
        build()  # type: ignore[operator]
