"""Where TTFT goes: the critical path, walked back from the answer's first token."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.core.cost import linear_cost
from simulator.des.batching import BatchingSetup
from simulator.des.simulate import simulate
from staircase import Pipeline, RequestShape, Schedule, Timeline, Workload, constant, moa, uniform
from staircase.metrics.ttft import HAND_OVER, Stretch, ttft_path
from staircase.prompt import query
from staircase.timeline import to_ps
from tests.support.random_cases import random_case


@settings(max_examples=40)
@given(st.integers(0, 5000), st.sampled_from([0, 1, 30]))
def test_the_parts_follow_one_another_and_sum_to_ttft(seed: int, call_ps: int) -> None:
    case = random_case(seed)
    setups = {name: replace(setup, call_ps=call_ps) for name, setup in case.setups.items()}
    for line in replace(case, setups=setups).play():
        path = ttft_path(line, case.pipeline, case.schedule, dict.fromkeys(setups, call_ps))
        if not line.answer_ps:
            assert path == ()
            continue
        assert sum(part.length_ps for part in path) == line.answer_ps[0] - line.arrival_ps
        assert all(part.length_ps > 0 for part in path)
        assert all(one.stop_ps == two.start_ps for one, two in pairwise(path))
        if path:
            assert (path[0].start_ps, path[-1].stop_ps) == (line.arrival_ps, line.answer_ps[0])


@settings(max_examples=40)
@given(st.integers(0, 5000))
@example(519)
def test_where_only_tokens_are_waited_for_parts_belong_to_calls(seed: int) -> None:
    """A reader starts when the last token that it needs is there. When that was is known of a
    call's first and last token only, so a neighbour may be taken for who was waited for."""
    case = random_case(seed, is_timed=False)
    for line in case.play():
        path = ttft_path(line, case.pipeline, case.schedule, {})
        rests = [part for part in path if part.phase == "rest"]
        assert all(p.length_ps <= HAND_OVER * (p.stop_ps - line.arrival_ps) + 1 for p in rests)


MS = 10**9


def engine(decode_ms: float, **options: int) -> BatchingSetup:
    cost = linear_cost(
        iteration_s=decode_ms / 1000,
        token_s=0.0,
        sequence_s=0.0,
        context_s=0.0,
        max_tokens=2048,
        max_sequences=8,
    )
    return BatchingSetup(cost, **options)  # type: ignore[arg-type]


def played(
    pipeline: Pipeline, schedule: Schedule, setups: dict[str, BatchingSetup], **written: int
) -> list[Timeline]:
    shape = RequestShape({query(agent.name): 5 for agent in pipeline}, written, "length")
    return simulate(pipeline, schedule, setups, Workload([shape] * 2, concurrency=2))


def in_ms(path: tuple[Stretch, ...]) -> list[tuple[str, str, float]]:
    return [(part.agent, part.phase, part.length_ps / MS) for part in path]


def test_a_known_case() -> None:
    """b is the slower proposer: 1 ms fixed, 2 ms to its first token, 7 more at 2 ms; then z."""
    pipeline = moa([["a", "b"]], "z")
    setups = {"a": engine(1), "b": engine(2, call_ps=to_ps(0.001)), "z": engine(3)}
    schedule = uniform(pipeline, constant(8, 8, 4))
    first, _ = played(pipeline, schedule, setups, a=30, b=30, z=20)
    assert in_ms(ttft_path(first, pipeline, schedule, {"b": to_ps(0.001)})) == [
        ("b", "fixed", 1.0),
        ("b", "prefill", 2.0),
        ("b", "decode", 14.0),
        ("z", "prefill", 3.0),
    ]
    unknown = in_ms(ttft_path(first, pipeline, schedule, {}))
    assert unknown[0] == ("b", "queue", 1.0)


def test_layers_are_walked_down_to_the_arrival() -> None:
    """d reads b and c; b reads a, which it must wait for; c is fast and nobody waits for it."""
    pipeline = moa([["a"], ["b", "c"]], "z")
    setups = {"a": engine(5), "b": engine(4), "c": engine(1), "z": engine(3)}
    schedule = uniform(pipeline, constant(2, 2, 2))
    first, _ = played(pipeline, schedule, setups, a=10, b=10, c=10, z=5)
    assert in_ms(ttft_path(first, pipeline, schedule, {})) == [
        ("a", "prefill", 5.0),
        ("a", "decode", 5.0),
        ("b", "prefill", 4.0),
        ("b", "decode", 4.0),
        ("z", "prefill", 3.0),
    ]


def test_who_reads_all_waits_for_the_end() -> None:
    pipeline = moa([["a", "b"]], "z")
    setups = {"a": engine(1), "b": engine(1), "z": engine(1)}
    first, _ = played(pipeline, Schedule(), setups, a=30, b=10, z=5)
    path = in_ms(ttft_path(first, pipeline, Schedule(), {}))
    assert path == [("a", "prefill", 1.0), ("a", "decode", 29.0), ("z", "prefill", 1.0)]


@pytest.mark.parametrize("answer_ps", [(), (7,)])
def test_a_timeline_without_calls(answer_ps: tuple[int, ...]) -> None:
    line = Timeline(0, 2, 9, (), answer_ps, {})
    path = ttft_path(line, moa([["a"]], "z"), Schedule(), {})
    assert path == ((Stretch("", "rest", 2, 7),) if answer_ps else ())
