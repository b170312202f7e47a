"""What a plan says of its choice: importances, neighbours, gains, limits, where TTFT goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.figures.objectives import Goals, parse_objectives
from planner.results.breakdown import roles_of, ttft_parts
from planner.results.comparison import comparisons
from planner.results.plans import Candidate, Plan
from planner.search.importance import PARAMETERS, importances, parameters_of
from planner.search.neighbours import neighbours_of
from planner.workspace import Workspace
from simulator.analytic.lower_bound import Stage
from simulator.core.cost import linear_cost
from simulator.des.batching import BatchingSetup
from staircase import (
    Agent,
    Pipeline,
    RequestShape,
    Workload,
    constant,
    debate,
    explicit,
    geometric,
    moa,
    normal,
    uniform,
)
from staircase.metrics.request_metrics import Summary
from staircase.pipeline import single
from staircase.prompt import query
from staircase.schedule import SEARCHED_LAYOUTS, Barrier, Staircase
from staircase.spec.plan_spec import PlanSpec
from tests.support.plans import EXAMPLES, paper_plan, small_plan, validation_of
from tests.support.random_cases import random_case

PIPELINE = moa([["a", "b"]], "z")
THREE = moa([["a", "b", "c"]], "z")
STAIRCASES = [
    normal(),
    constant(8, 16, 8),
    constant(5, 7, 3, first_write=6),
    geometric(4, 2.0, 32, 8),
    explicit([(4, 8), (20, 16)]),
]


@pytest.fixture(scope="module")
def found() -> Plan:
    return paper_plan()


class TestAround:
    @pytest.mark.parametrize("staircase", STAIRCASES)
    def test_each_differs_and_only_as_it_says(self, staircase: Staircase) -> None:
        schedule = uniform(PIPELINE, staircase)
        own = parameters_of(schedule, "z")
        for near in neighbours_of(schedule, PlanSpec(), PIPELINE):
            assert near.schedule != schedule
            there = parameters_of(near.schedule, "z")
            if near.parameter in ("first", "chunk", "write"):
                assert there[near.parameter] == int(near.value)
                same = {"layout", "family", "first", "write"} - {near.parameter}
                assert all(own[name] == there[name] for name in same)
            elif near.parameter == "layout":
                assert there == {**own, "layout": near.value}

    def test_sizes_are_the_next_of_the_scenario(self) -> None:
        spec = PlanSpec(first=[2, 8, 20, 30], chunk=[16], write=[4, 8])
        near = list(neighbours_of(uniform(PIPELINE, constant(8, 16, 8)), spec, PIPELINE))
        sizes = [(one.parameter, one.value) for one in near if one.parameter != "layout"]
        assert sizes[:3] == [("first", "2"), ("first", "20"), ("write", "4")]
        assert {one.value for one in near if one.parameter == "layout"} == set(SEARCHED_LAYOUTS) - {
            "append_rounds"
        }

    def test_one_proposer_more_or_less_is_asked(self) -> None:
        schedule = replace(uniform(THREE, normal()), without=("b",))

        def left_out(most: int) -> list[str]:
            near = neighbours_of(schedule, PlanSpec(leave_out=most), THREE)
            return [one.value for one in near if one.parameter == "without"]

        assert left_out(2) == ["a, b", "nobody", "b, c"]
        assert left_out(1) == ["nobody"]
        assert left_out(0) == ["nobody"]

    def test_options_that_the_search_may_choose(self) -> None:
        schedule = replace(uniform(THREE, normal()), barrier=Barrier("quorum", 2), at_once=4)
        spec = PlanSpec(barrier=["all", "quorum:2", "ahead:1"], at_once=[1, 4, 64])
        near = [
            one
            for one in neighbours_of(schedule, spec, THREE)
            if one.parameter in ("barrier", "at_once")
        ]
        assert [(one.parameter, one.value) for one in near] == [
            ("barrier", "all"),
            ("barrier", "ahead:1"),
            ("at_once", "1"),
            ("at_once", "64"),
        ]
        assert near[1].schedule == replace(schedule, barrier=Barrier("ahead", 1))
        assert near[3].schedule == replace(schedule, at_once=None)

    def test_a_first_step_is_never_moved_past_the_next(self) -> None:
        """What later steps read beyond the first stays; so they stay in order."""
        schedule = uniform(PIPELINE, explicit([(8, 4), (9, 4)]))
        for near in neighbours_of(schedule, PlanSpec(), PIPELINE):
            reads = [step.read or 0 for step in near.schedule.staircases["z"].steps]
            assert reads == sorted(reads)


def candidates_by(first_counts: bool) -> list[Candidate]:
    found = []
    for layout in SEARCHED_LAYOUTS:
        for first in (4, 8, 16, 32):
            for write in (4, 8, 16, 32):
                value = float(first if first_counts else write)
                schedule = uniform(PIPELINE, constant(first, 16, write), layout)
                found.append(Candidate(schedule, {"ttft_s": Summary.of(value)}))
    return found


@pytest.mark.parametrize("first_counts", [True, False])
def test_what_alone_counts_is_important(first_counts: bool) -> None:
    goals = Goals(parse_objectives(["ttft"]))
    shares = importances(candidates_by(first_counts), goals, "z")["ttft"]
    assert shares["first" if first_counts else "write"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == set(PARAMETERS)


def test_an_option_that_alone_counts_is_important() -> None:
    found = [
        Candidate(replace(one.schedule, at_once=count), {"ttft_s": Summary.of(float(count or 9))})
        for one in candidates_by(True)
        for count in (None, 1, 4)
    ]
    shares = importances(found, Goals(parse_objectives(["ttft"])), "z")["ttft"]
    assert shares["at_once"] > 0.9
    assert set(shares) == {*PARAMETERS, "at_once"}


def test_of_few_schedules_nothing_is_told() -> None:
    goals = Goals(parse_objectives(["ttft"]))
    shares = importances(candidates_by(True)[:1], goals, "z")["ttft"]
    assert len(set(shares.values())) == 1


def test_neighbours_are_forecast_as_the_plan_is(found: Plan) -> None:
    assert found.explanation is not None
    work = Workspace.open(EXAMPLES / "paper_moa.yaml", None)
    judge, spec = work.forecaster(), work.scenario.plan
    variations = list(neighbours_of(found.named()["chosen"].schedule, spec, judge.pipeline))
    assert len(variations) == len(found.explanation.neighbours)
    for near, told in list(zip(variations, found.explanation.neighbours, strict=True))[::4]:
        forecast = judge(near.schedule).metrics
        assert (near.parameter, near.value) == (told.parameter, told.value)
        assert told.figures["smooth_start"] == forecast["smooth_start_s"].mean
        assert told.figures["unread"] == forecast["unread"].mean
        assert told.keeps_limits == (forecast["unread"].mean <= 0.25)


def test_parts_sum_to_the_forecast(found: Plan) -> None:
    assert found.explanation is not None
    for name, parts in found.explanation.ttft.items():
        assert sum(part.mean_s for part in parts.parts) == pytest.approx(parts.ttft_s)
        assert parts.ttft_s == pytest.approx(found.named()[name].ttft_s)


def test_limits_say_what_they_keep_out(found: Plan) -> None:
    assert found.explanation is not None
    chosen = found.named()["chosen"]
    for use in found.explanation.limits:
        most = float(use.words.split()[-1])
        better = [c for c in found.candidates if c.smooth_start_s < chosen.smooth_start_s]
        assert use.words == "unread ≤ 0.25"
        assert use.excluded == sum(c.forecast["unread"].mean > most for c in better)
        assert use.value == chosen.forecast["unread"].mean


def test_a_limit_on_a_time_is_told_by_its_percentile() -> None:
    plan = small_plan(objectives=["ttft", "unread"], slo={"stall": 1.0})
    assert plan.explanation is not None
    chosen = plan.named()["chosen"]
    (use,) = (one for one in plan.explanation.limits if one.words == "stall.p90 ≤ 1")
    better = [c for c in plan.candidates if c.ttft_s < chosen.ttft_s]
    assert use.excluded == sum(c.forecast["stall_s"].p90 > 1 for c in better)
    assert use.value == chosen.forecast["stall_s"].p90


@settings(max_examples=40)
@given(st.integers(0, 2000))
def test_mean_parts_sum_to_the_mean(seed: int) -> None:
    case = random_case(seed)
    lines = case.play()
    parts = ttft_parts(lines, case.pipeline, case.schedule, {})
    ttft = [line.answer_ps[0] - line.arrival_ps for line in lines if line.answer_ps]
    assert parts.ttft_s == pytest.approx(sum(ttft) / len(ttft) / 1e12 if ttft else 0)
    assert sum(part.mean_s for part in parts.parts) == pytest.approx(parts.ttft_s)


def test_roles() -> None:
    assert roles_of(PIPELINE) == {"a": "proposers", "b": "proposers", "z": "answer"}
    assert roles_of(single("m")) == {"m": "answer"}
    deep = roles_of(debate(["a", "b"], 2))
    assert (deep["a.1"], deep["b.2"], deep["judge"]) == ("layer 1", "layer 2", "answer")


def test_nothing_is_in_the_way_of_the_bound() -> None:
    """Two proposers on one engine that serves one call at a time, and requests that meet there.

    Alone, a proposer takes 1 + 3 iterations of 2 ms to its fourth token, the answer 2 ms more.
    """
    cost = linear_cost(
        iteration_s=0.002,
        token_s=0.0,
        sequence_s=0.0,
        context_s=0.0,
        max_tokens=2048,
        max_sequences=8,
    )
    one = BatchingSetup(cost)
    one = replace(one, limits=replace(one.limits, max_num_seqs=1), call_ps=10**9)
    agents = (Agent("a", "e"), Agent("b", "e"), Agent("z", "e", ("a", "b")))
    pipeline = Pipeline(agents, "z")
    shape = RequestShape(
        {query(agent.name): 5 for agent in pipeline}, {"a": 9, "b": 9, "z": 9}, "length"
    )
    stage = Stage(pipeline, {"e": one}, Workload([shape] * 3, concurrency=3))
    schedule = uniform(pipeline, constant(4, 4, 4))
    bound = stage.without_queues()
    assert bound.call_ps == dict.fromkeys("abz", 10**9)
    ttft_ms = [line.answer_ps[0] - line.arrival_ps for line in bound.play(schedule)]
    assert ttft_ms == [12 * 10**9] * 3
    assert min(line.answer_ps[0] - line.arrival_ps for line in stage.play(schedule)) > 12 * 10**9


def measured(ttft_s: float, loss: float, spread: float = 0.0) -> dict[str, Summary]:
    ttft = Summary(ttft_s, ttft_s - spread, ttft_s + spread, ttft_s, ttft_s, ttft_s)
    return {"ttft_s": ttft, "loss": Summary.of(loss)}


def test_who_beats_whom() -> None:
    rows = {
        "normal": measured(1.0, 0.0),
        "paper default": measured(0.2, 0.2),
        "chosen": measured(0.3, 0.1),
        "front 1": measured(0.5, 4e-7),
        "front 2": measured(0.25, 0.1, spread=0.1),
    }
    objectives = parse_objectives(["ttft", "loss", "unread"])
    found = {(s.name, s.baseline): s for s in comparisons(rows, objectives)}
    assert len(found) == 6
    # Float rounding is no loss; what is not measured is not compared.
    assert found["front 1", "normal"].beats
    assert found["front 1", "normal"].tied == ("loss",)
    assert found["chosen", "normal"].worse == ("loss",)
    assert not found["chosen", "paper default"].beats
    # Intervals that meet.
    assert found["front 2", "paper default"].tied == ("ttft",)
    assert found["front 2", "paper default"].beats


def test_a_validation_is_of_its_plan(found: Plan) -> None:
    checked = validation_of(found)
    assert checked.is_of(found)
    assert not checked.is_of(replace(found, chosen=found.normal))
    assert checked.errors["ttft_s"] == pytest.approx(0.2)
    assert 0 < checked.reading.saved < 1
