"""Simulated engines: costs, kernel tables, scenario files, and single known cases."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.hardware.hosts import Host
from simulator.core.cost import (
    Cost,
    at,
    attention_ps,
    cost_of_profile,
    decode_iterations_by,
    decode_sum_ps,
    linear_cost,
    mixed_attention_ps,
)
from simulator.des.batching import BatchingSetup
from simulator.des.limits import Limits
from simulator.des.simulate import simulate
from simulator.engine import Key, SimulatedCall
from simulator.event_queue import ARRIVAL, Clock, ScheduledEvent
from simulator.forecast import forecast_simulated
from simulator.workloads import workload_of
from staircase import (
    Agent,
    Pipeline,
    RequestShape,
    Schedule,
    Timeline,
    Workload,
    constant,
    moa,
    single,
    uniform,
)
from staircase.errors import WorkloadError
from staircase.messages import Call
from staircase.play import CallResult
from staircase.prompt import Prompt, Segment, query
from staircase.spec.scenario import load_scenario
from staircase.spec.workload_spec import WorkloadSpec
from tests.support.oracle import OracleSetup
from tests.support.random_cases import random_cost
from tests.test_latency_profile import engine

MS = 10**9
HOST = Host("own", 0.001, 0.0, "")
PAPER = Path(__file__).parents[1] / "examples" / "paper_moa.yaml"


def plain_cost() -> Cost:
    """1 ms an iteration, 1 ms more for each prompt token."""
    return linear_cost(
        iteration_s=0.001,
        token_s=0.001,
        sequence_s=0.0,
        context_s=0.0,
        max_tokens=64,
        max_sequences=8,
    )


def serve(prompts: list[int], written: int, limits: Limits, call_ps: int = 0) -> list[Timeline]:
    shapes = [RequestShape({query("model"): n}, {"model": written}, "length") for n in prompts]
    setup = BatchingSetup(plain_cost(), limits, call_ps=call_ps)
    workload = Workload(shapes, arrivals_ps=[0] * len(shapes))
    return simulate(single(), Schedule(), {"model": setup}, workload)


def test_one_call_alone() -> None:
    line = serve([10], 4, Limits(64, 8))[0]
    assert line.answer_ps == (11 * MS, 12 * MS, 13 * MS, 14 * MS)


def test_a_call_takes_its_way_to_the_replica() -> None:
    line = serve([10], 1, Limits(64, 8), call_ps=5 * MS)[0]
    assert line.answer_ps == (16 * MS,)


def test_a_prompt_over_the_budget_is_prefilled_in_chunks() -> None:
    line = serve([10], 1, Limits(4, 8))[0]
    assert line.answer_ps == ((5 + 5 + 3) * MS,)


def test_seats_are_given_in_order() -> None:
    first, second = serve([3, 3], 2, Limits(64, 1))
    assert first.spans[0].ended_ps == second.spans[0].started_ps == 5 * MS


def test_a_shared_header_is_computed_once() -> None:
    shape = RequestShape({"header/model": 32, query("model"): 4}, {"model": 2}, "length")
    setup = BatchingSetup(plain_cost(), Limits(64, 8, blocks=64))
    lines = simulate(single(), Schedule(), {"model": setup}, Workload([shape] * 3))
    assert [line.spans[0].cached_tokens for line in lines] == [0, 32, 32]


def test_a_call_that_can_never_fit_is_told() -> None:
    with pytest.raises(WorkloadError, match="needs KV for 101 tokens"):
        serve([100], 1, Limits(64, 8, blocks=4))


@dataclass
class Ends:
    """When calls of one engine ended, by number, and whether they wrote anything."""

    found: dict[int, tuple[float, str]] = field(default_factory=dict)

    def on_token(self, key: Key, now_ps: int) -> None: ...

    def on_watched(self, key: Key, now_ps: int) -> None: ...

    def on_revised(self, key: Key, standing: int, tokens: int, now_ps: int) -> None: ...

    def on_end(self, key: Key, result: CallResult) -> None:
        self.found[key[1]] = (result.ended_ps / MS, result.reason)


@pytest.mark.parametrize("is_fast", [True, False])
def test_a_cancelled_call_keeps_nobody_waiting(is_fast: bool) -> None:
    """The second has no room beside the first and holds the third up until it is cancelled."""
    setup = BatchingSetup(plain_cost(), Limits(64, 8, blocks=4, block_tokens=16))
    env, ends = Clock(), Ends()
    engine = (setup if is_fast else OracleSetup(setup)).open(env, {})

    def submit(number: int, prompt: int, tokens: int) -> None:
        segments = (Segment(f"query/{number}", 0, prompt),)
        call = Call(number, "m", "m", 0, (), 0, Prompt(segments), tokens, True)
        engine.submit(SimulatedCall(number, call, tokens, False), ends)

    for at_ms, errand in (
        (0, partial(submit, 0, 20, 40)),
        (30, partial(submit, 1, 60, 1)),
        (31, partial(submit, 2, 4, 1)),
        (35.5, partial(engine.cancel, (1, 1))),
    ):
        ScheduledEvent(env, round(at_ms * MS), ARRIVAL, errand)
    env.run()
    assert ends.found[1] == (35.5, "cancelled")
    # The iteration under way ends after 36 ms; four tokens of prompt and one beside them take six.
    assert ends.found[2] == (42, "length")
    assert ends.found[0] == (65, "length")


def late(prompts: list[int], written: list[int], at_ps: int, limits: Limits) -> list[Timeline]:
    """Of requests of which the last one comes at ``at_ps``."""
    shapes = [
        RequestShape({query("model"): prompt}, {"model": count}, "length")
        for prompt, count in zip(prompts, written, strict=True)
    ]
    arrivals = [0] * (len(shapes) - 1) + [at_ps]
    setup = BatchingSetup(plain_cost(), limits)
    return simulate(single(), Schedule(), {"model": setup}, Workload(shapes, arrivals_ps=arrivals))


def milliseconds(line: Timeline) -> list[float]:
    return [ps / MS for ps in line.answer_ps]


def test_a_prompt_is_computed_beside_decodes_or_before_them() -> None:
    """It comes while the first request's third token is computed."""
    limits = Limits(64, 8)
    first, second = late([4, 20], [6, 2], 6 * MS + 1, limits)
    assert milliseconds(first) == [5, 6, 7, 29, 30, 31]
    assert milliseconds(second) == [29, 30]
    first, second = late([4, 20], [6, 2], 6 * MS + 1, replace(limits, prefill_first=True))
    assert milliseconds(first) == [5, 6, 7, 29, 30, 31]
    assert milliseconds(second) == [28, 29]


def test_a_prompt_is_cut_or_waits_for_room() -> None:
    """Of 9 tokens that an iteration has room for, two that decode take two."""
    limits = Limits(9, 8)
    *others, third = late([1, 1, 8], [6, 6, 1], 3 * MS + 1, limits)
    assert milliseconds(third) == [18]
    assert [milliseconds(one)[-1] for one in others] == [20, 20]
    whole = replace(limits, enable_chunked_prefill=False)
    *others, third = late([1, 1, 8], [6, 6, 1], 3 * MS + 1, whole)
    assert milliseconds(third) == [17]
    assert [milliseconds(one)[-1] for one in others] == [8, 8]


def test_a_prompt_that_is_never_cut_must_have_room() -> None:
    limits = Limits(9, 8, enable_chunked_prefill=False)
    with pytest.raises(WorkloadError, match=r"has 10 tokens with its answer, an iteration 9: give"):
        serve([9], 1, limits)


def test_a_call_that_preempts_itself_ends_the_iteration() -> None:
    """Six blocks of 4 tokens for x and b, urgent, and a, which runs between them.

    The clock in ms: 8 prompts of x and a; 15 that of b, beside a token of x and of a; 16, 17, 18 a
    token for each, and all blocks are full but those of x and b. Now a needs a ninth token's block
    and goes; so b, behind it, waits while x gets its token, until 19. Both end at 20; a computes
    its 9 tokens again, until 30.
    """
    agents = (
        Agent("x", "e", ()),
        Agent("a", "e", ()),
        Agent("c", "f", ()),
        Agent("b", "e", ("c",)),
        Agent("z", "f", ("x", "a", "b")),
    )
    queries = {query(name): tokens for name, tokens in zip("xacbz", (3, 4, 1, 3, 1), strict=True)}
    shape = RequestShape(queries, {"x": 7, "a": 6, "c": 1, "b": 5, "z": 1}, "length")
    limits = Limits(64, 8, 6, 4, prefix_caching=False, scheduling="priority")
    shared = BatchingSetup(plain_cost(), limits, priorities=(("a", 1),))
    setups = {"e": shared, "f": BatchingSetup(plain_cost(), Limits(64, 8))}
    line = simulate(Pipeline(agents, "z"), Schedule(), setups, Workload([shape]))[0]
    ends = {span.agent: span.ended_ps // MS for span in line.spans}
    assert (ends["x"], ends["b"], ends["a"]) == (20, 20, 30)


@given(st.integers(0, 99), st.integers(1, 9), st.integers(0, 200), st.integers(1, 60))
def test_a_run_takes_as_long_as_its_iterations(
    seed: int, sequences: int, context: int, count: int
) -> None:
    import random

    cost = random_cost(random.Random(seed))
    steps = [
        at(cost.decode_ps, sequences) + attention_ps(cost, sequences, context + n * sequences)
        for n in range(count)
    ]
    assert decode_sum_ps(cost, sequences, context, count) == sum(steps)
    for until in (1, sum(steps) // 2, sum(steps)):
        fewest = next(n for n in range(1, count + 1) if sum(steps[:n]) >= until or n == count)
        assert decode_iterations_by(cost, sequences, context, count, until) == fewest


def test_tables_of_a_profile_agree_with_it() -> None:
    profile = engine()
    cost = cost_of_profile(profile, max_tokens=512, max_sequences=16)
    decode = at(cost.decode_ps, 1) + attention_ps(cost, 1, 300)
    assert decode == pytest.approx(profile.decode_s(1, 300) * 1e12, rel=1e-3)
    for new, cached in ((512, 0), (100, 400)):
        work = new * (2 * cached + new)
        prefill = at(cost.tokens_ps, new) + mixed_attention_ps(cost, new, work, 0, 0)
        assert prefill == pytest.approx(profile.prefill_s(new, cached) * 1e12, rel=0.02)


def test_workloads_are_seeded() -> None:
    spec = WorkloadSpec(
        requests=400,
        query_tokens={"mean": 200, "sigma": 0.5},  # type: ignore[arg-type]
        output_tokens={"model": 10},
        rate_per_s=2.0,
        burstiness=2.0,
    )
    one, two = workload_of(spec, single(), Path()), workload_of(spec, single(), Path())
    assert one == two
    tokens = [shape.fixed_tokens[query("model")] for shape in one.requests]
    assert np.mean(tokens) == pytest.approx(200, rel=0.1)
    assert one.arrivals_ps is not None
    gaps = np.diff(one.arrivals_ps) / 1e12
    assert gaps.mean() == pytest.approx(0.5, rel=0.2)
    assert gaps.std() / gaps.mean() == pytest.approx(2.0, rel=0.2)


@pytest.mark.parametrize(("first", "ttft_s"), [(4, 0.42), (8, 0.47), (32, 0.70)])
def test_the_papers_first_chunks(first: int, ttft_s: float) -> None:
    scenario = load_scenario(PAPER)
    schedule = uniform(scenario.pipeline.build(), constant(first, 128, 60), "rebuild")
    metrics = forecast_simulated(scenario, schedule).metrics
    assert metrics["ttft_s"].mean == pytest.approx(ttft_s, rel=0.1)


def test_moa_on_shared_replicas_waits_for_the_slowest() -> None:
    pipeline = moa([["a", "b"]], "z")
    shape = RequestShape({query(n): 8 for n in "abz"}, {"a": 10, "b": 20, "z": 5}, "length")
    setups = {name: BatchingSetup(plain_cost(), Limits(64, 8)) for name in "abz"}
    line = simulate(pipeline, Schedule(), setups, Workload([shape]))[0]
    ends = {span.agent: span.ended_ps for span in line.spans}
    assert ends["a"] == (9 + 9) * MS
    assert ends["b"] == (9 + 19) * MS
    assert line.answer_ps[0] == ends["b"] + (1 + 8 + 30) * MS
