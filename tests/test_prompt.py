"""Layouts and shared prefixes, against the table of DESIGN section 4 and a plain text model."""

from __future__ import annotations

from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from staircase.prompt import (
    Prompt,
    Round,
    Segment,
    build_prompt,
    common_prefix_tokens,
)
from staircase.schedule import LAYOUTS, Layout
from tests.support.prompt_texts import fixed_names

SOURCES = ("p", "q")
FIXED = dict(zip(fixed_names("z", SOURCES), (3, 2, 5, 2, 1, 1, 2), strict=True))


def spelled(prompt: Prompt) -> list[tuple[str, int]]:
    """The prompt token by token."""
    return [(s.source, place) for s in prompt.segments for place in range(s.start, s.stop)]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Round], int]:
    count = draw(st.integers(1, 5))
    reads = [
        sorted(draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))) for _ in SOURCES
    ]
    own = [0, *sorted(draw(st.lists(st.integers(0, 20), min_size=count, max_size=count)))]
    rounds = [Round((p, q), w) for p, q, w in zip(*reads, own[:-1], strict=True)]
    return rounds, own[-1]


@given(histories(), st.sampled_from(LAYOUTS))
def test_every_layout_shows_each_token_once(
    history: tuple[list[Round], int], layout: Layout
) -> None:
    rounds, written = history
    words = spelled(build_prompt("z", SOURCES, rounds, written, layout, FIXED))
    for number, source in enumerate(SOURCES):
        assert [n for name, n in words if name == source] == list(range(rounds[-1].read[number]))
    assert [n for name, n in words if name == "z"] == list(range(written))
    assert len(words) == len(set(words)) or layout in ("append_rounds", "interleave")


@given(histories(), histories(), st.sampled_from(LAYOUTS))
def test_shared_prefix_is_that_of_the_texts(
    one: tuple[list[Round], int], other: tuple[list[Round], int], layout: Layout
) -> None:
    a = build_prompt("z", SOURCES, *one, layout, FIXED)
    b = build_prompt("z", SOURCES, *other, layout, FIXED)
    pairs = zip(spelled(a), spelled(b), strict=False)
    expected = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    assert common_prefix_tokens(a, b) == expected


def test_prefilled_tokens_of_a_step_are_those_of_the_design() -> None:
    """One step from 10 to 14 tokens of both sources after 6 own tokens, without fixed texts."""
    before, now = Round((10, 10), 0), Round((14, 14), 6)
    fixed = {"query/z": 5, "header/z": 3}
    new: dict[str, int] = {}
    for layout in LAYOUTS:
        first = build_prompt("z", SOURCES, [before], 6, layout, fixed)
        second = build_prompt("z", SOURCES, [before, now], 6, layout, fixed)
        new[layout] = second.tokens - common_prefix_tokens(first, second)
    c1, c2_so_far, q, own, chunks = 4, 14, 5, 6, 8
    assert new == {
        "rebuild": c1 + c2_so_far + q + own,
        "rebuild_query_first": c1 + c2_so_far + own,
        "append_rounds": chunks + own,
        "interleave": chunks,
    }


def test_extending_joins_what_continues() -> None:
    prompt = Prompt((Segment("z", 0, 4),))
    assert prompt.extended(Segment("z", 4, 6)) == Prompt((Segment("z", 0, 6),))
    assert prompt.extended(Segment("z", 4, 4)) == prompt
