"""What follows of systems whose stages start on partial input."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.streams import played
from staircase import Schedule, chain, constant, uniform


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 5))
def test_agents_in_a_row_are_as_fast_as_their_bound(agents: int, steps: int, step: int) -> None:
    """A·S/(S + A − 1): StreamMA (2606.05158), without prefill."""
    pipeline = chain([f"agent {n}" for n in range(agents)])
    names = [agent.name for agent in pipeline]
    tokens, itl_s = dict.fromkeys(names, steps * step), dict.fromkeys(names, 0.01)
    whole = played(pipeline, Schedule(), tokens, itl_s).e2e_s
    in_steps = played(pipeline, uniform(pipeline, constant(step, step, step)), tokens, itl_s).e2e_s
    assert whole / in_steps == pytest.approx(agents * steps / (steps + agents - 1))
