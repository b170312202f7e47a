from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.figures.front import front_of, hypervolume
from planner.figures.objectives import (
    Goals,
    limits_of_words,
    parse_limits,
    parse_objective,
    parse_objectives,
)
from planner.results.plans import Candidate, choose, load_plan, pareto_front, save_plan, spread_out
from planner.search.moves import moves_of
from planner.search.search import search
from planner.search.space import Space
from planner.workspace import Workspace
from profiles.latency.profile import DecodePoint, LatencyProfile, PrefillPoint, fit_engine
from profiles.quality.profile import QualityProfile, QualitySample, QualitySurface
from profiles.store import provenance_of_now
from simulator.profile_forecaster import ProfileForecaster, sampled_workload
from staircase import Agent, Schedule, constant, normal, uniform
from staircase.errors import PlanError, ScheduleError
from staircase.metrics.request_metrics import Summary, summarize
from staircase.pipeline import Arrival
from staircase.schedule import SEARCHED_LAYOUTS, Staircase, Step
from staircase.spec.plan_spec import PlanSpec
from staircase.spec.scenario import Scenario, load_scenario

ROOT = Path(__file__).parents[1]
DEMO, EXAMPLES = ROOT / "tests" / "support" / "desk.yaml", ROOT / "examples"


def candidate(
    ttft_s: float, loss: float, agreement: float = 1.0, stall_s: float = 0.0
) -> Candidate:
    values = {"ttft_s": ttft_s, "loss": loss, "agreement": agreement, "stall_s": stall_s}
    return Candidate(Schedule(), {name: Summary.of(value) for name, value in values.items()})


GOALS = Goals(parse_objectives(["ttft", "loss"]))
POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


def is_beaten(point: tuple[float, ...], points: Iterable[tuple[float, ...]]) -> bool:
    return any(
        other != point and all(o <= p for o, p in zip(other, point, strict=True))
        for other in points
    )


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), min_size=1, max_size=30))
def test_front_is_what_nobody_beats(points: list[tuple[int, int, int]]) -> None:
    front = [points[number] for number in front_of(points)]
    assert set(front) == {point for point in points if not is_beaten(point, points)}
    assert len(front) == len(set(front))
    assert [point[0] for point in front] == sorted(point[0] for point in front)


@given(POINTS)
def test_hypervolume_counts_the_cells_that_are_beaten(points: list[tuple[int, int]]) -> None:
    cells = [(x, y) for x in range(10) for y in range(10)]
    beaten = sum(any(p[0] <= x and p[1] <= y for p in points) for x, y in cells)
    assert hypervolume([(float(x), float(y)) for x, y in points], (10.0, 10.0)) == beaten


def test_choice_is_the_fastest_that_keeps_the_limits() -> None:
    candidates = [
        candidate(1.0, 0.5, agreement=0.90),
        candidate(2.0, 0.2, agreement=0.97, stall_s=9.0),
        candidate(3.0, 0.1, agreement=0.98),
        candidate(9.0, 0.0),
    ]
    good = Goals(GOALS.objectives, parse_limits({"quality": 0.95}))
    strict = Goals(GOALS.objectives, parse_limits({"quality": 0.95, "stall": 1.0}))
    assert choose(candidates, good) == 1
    assert choose(candidates, strict) == 2
    assert pareto_front(candidates, GOALS) == (0, 1, 2, 3)
    assert pareto_front(candidates, strict) == (2, 3)
    assert pareto_front(candidates[:2], strict) == (0, 1)  # None keeps them: of all.
    with pytest.raises(PlanError, match=r"none of 1 .* quality ≥ 0\.95 \(best 0\.9\)"):
        choose(candidates[:1], good)


def test_objectives_in_words() -> None:
    assert parse_objective("ttft.p90").name == "ttft.p90"
    assert parse_objective("ttft").name == "ttft"
    values = summarize([1.0, 2.0, 3.0])
    assert parse_objective("e2e.p50").figure({"e2e_s": values}) == 2.0
    assert parse_objective("score").cost({"score": values}) == -2.0
    assert parse_objective("tpot").cost({"tpot_s": summarize([])}) == float("inf")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tftt"], "'tftt': must be one of ttft, "),
        (["ttft.p95"], "'p95' must be one of mean, p50, p90, p99"),
        (["ttft", "ttft"], "1 to 4, each once"),
        ([], "1 to 4"),
    ],
)
def test_objectives_that_there_are_not(words: list[str], said: str) -> None:
    with pytest.raises(PlanError, match=re.escape(said)):
        parse_objectives(words)


def test_the_worse_end_of_an_interval_may_be_asked_for() -> None:
    values = {"smooth_start_s": Summary(2.0, 1.0, 4.0, 2.0, 3.0, 3.0)}
    assert parse_objective("smooth_start.high").figure(values) == 4.0
    gain = {"score": Summary(0.8, 0.6, 0.9, 0.8, 0.8, 0.8)}
    assert parse_objective("score.low").cost(gain) == -0.6
    for better in ("smooth_start.low", "score.high"):
        with pytest.raises(PlanError, match=r"must be one of mean, p50, p90, p99, "):
            parse_objective(better)


def test_an_end_of_the_interval_of_one_request_is_not_known() -> None:
    goals = Goals(parse_objectives(["smooth_start.high"]))
    with pytest.raises(PlanError, match="the interval needs more requests"):
        goals.check({"smooth_start_s": summarize([2.0])})


def test_measured_engines_are_chosen_for_with_slack() -> None:
    """A schedule without slack is the best by its mean and bad at its interval's end."""
    tight, slack = candidate(1.0, 0.0), candidate(2.0, 0.0)
    ends = {"smooth_start_s": Summary(1.0, 0.5, 9.0, 1.0, 1.0, 1.0)}
    tight = replace(tight, forecast={**tight.forecast, **ends})
    ends = {"smooth_start_s": Summary(2.0, 1.5, 3.0, 2.0, 2.0, 2.0)}
    slack = replace(slack, forecast={**slack.forecast, **ends})
    assert choose([tight, slack], Goals.of(PlanSpec(), knows_quality=True)) == 1
    assert choose([tight, slack], Goals(parse_objectives(["smooth_start", "loss"]))) == 0
    alone = Goals.of(PlanSpec(requests=1), knows_quality=True)
    assert [one.name for one in alone.objectives] == ["smooth_start", "loss"]


def test_limits_in_words() -> None:
    found = limits_of_words(["ttft.p90=0.5", "quality=.97"])
    assert [(one.name, one.figure) for one in found] == [("ttft.p90", 0.5), ("quality", 0.97)]
    twice = (["ttft=1", "ttft=2"], ["ttft=1", "ttft.p90=2"])
    for words in (["ttft"], ["ttft=fast"], ["ttft=nan"], ["=1"], ["x=1"], *twice):
        with pytest.raises(PlanError, match="ttft"):
            limits_of_words(words)


def test_a_limit_takes_the_place_of_one_on_the_same_figure(tmp_path: Path) -> None:
    """However it is spelled; limits on other statistics of a metric are others."""
    opened = Workspace.open(EXAMPLES / "paper_moa.yaml", tmp_path)
    work = opened.with_plan({"limits": {"ttft": 2.0, "ttft.mean": 1.0, "unread.mean": 0.2}})
    spec = work.with_limits(parse_limits({"ttft.p90": 3.0})).scenario.plan
    found = [str(limit) for limit in Goals.of(spec, knows_quality=False).limits]
    assert found == ["unread ≤ 0.2", "ttft.p90 ≤ 3", "ttft.mean ≤ 1"]


def test_spreading_keeps_the_ends() -> None:
    assert spread_out([1, 2, 3, 4, 5], 3) == (1, 3, 5)
    assert spread_out([1, 2], 3) == (1, 2)
    assert spread_out([1, 2], 1) == (1,)
    assert spread_out([1, 2], 0) == ()


# Of reading everything in two rounds.
NO_COST = QualitySurface(((0.0,),), ((1.0,),), ((0.0,),))


def forecaster(scenario: Scenario) -> ProfileForecaster:
    """Every prefill is 10 ms, every token 1 ms; loss falls as more is read."""
    prefill = [PrefillPoint(n, 0, 0.01, 0.0, 1.0) for n in (1, 2, 4, 8, 16, 500)]
    decode = [DecodePoint(1, n, 0.001, 0.0, 1.0) for n in (1, 100, 1000)]
    engine = fit_engine(prefill, decode, 0.0)
    rows = ((1.0,), (0.5,), (0.0,))
    surface = QualitySurface(rows, ((0.4,), (0.7,), (1.0,)), rows)
    written = {"north": 40, "south": 30, "east": 50, "editor": 20}
    sample = QualitySample(
        {},
        written,
        {"editor": dict.fromkeys(SEARCHED_LAYOUTS, surface)},
        rounds={"editor": NO_COST},
    )
    pipeline = scenario.pipeline.build()
    quality = QualityProfile(
        (0, 20),
        20,
        {"editor": ("north", "south", "east")},
        (sample,),
        provenance_of_now(),
        round_counts=(2,),
    )
    return ProfileForecaster(
        pipeline,
        LatencyProfile(dict.fromkeys(pipeline.engines, engine), provenance_of_now()),
        quality,
        scenario.real,
        sampled_workload(quality.samples, 2),
    )


def test_quality_is_not_known_of_what_is_kept_of_replaced_words(scenario: Scenario) -> None:
    plain = forecaster(scenario)
    north = Agent("north", arrival=Arrival(9.0))
    agents = [north if one.name == "north" else one for one in plain.pipeline]
    hearing = replace(plain, pipeline=replace(plain.pipeline, agents=tuple(agents)))
    schedule = uniform(hearing.pipeline, constant(8, 8, 8))
    assert hearing(schedule).quality is not None
    with pytest.raises(ScheduleError, match="revision 'keep': a quality profile does not know"):
        hearing(replace(schedule, revision="keep"))


@pytest.fixture
def scenario() -> Scenario:
    spec = PlanSpec(trials=60, min_quality=0.5)
    return load_scenario(DEMO).model_copy(update={"plan": spec})


class TestSpace:
    @pytest.fixture
    def space(self, scenario: Scenario) -> Space:
        return Space(scenario.pipeline.build(), PlanSpec(first=[4, 8], chunk=[8], write=[2, 4]))

    def test_holds_every_member_of_every_family_once(self, space: Space) -> None:
        points = list(space)
        assert len(points) == len(SEARCHED_LAYOUTS) * (1 + 4 + 4 * 3)
        assert len({repr(point) for point in points}) == len(points)

    def test_neighbours_are_in_it_and_lead_everywhere(self, space: Space) -> None:
        points = {repr(dict(sorted(point.items()))) for point in space}
        start = {"layout": "rebuild", "family": "constant", "first": 4, "chunk": 8, "write": 2}
        seen, left = set(), [start]
        while left:
            point = left.pop()
            name = repr(dict(sorted(point.items())))
            if name not in seen:
                seen.add(name)
                left += space.neighbours(point)
        assert seen == {name for name in points if "normal" not in name}


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=5),
    st.sampled_from([None, Step(8, 4)]),
)
def test_moves_are_schedules_that_differ(sizes: list[tuple[int, int]], growth: Step | None) -> None:
    reads = accumulate(read for read, _ in sizes)
    steps = tuple(Step(read, write) for read, (_, write) in zip(reads, sizes, strict=True))
    schedule = Schedule({"z": Staircase(steps, growth)})
    moved = list(moves_of(schedule))
    assert moved
    assert all(repr(one) != repr(schedule) for one in moved)


def test_what_reads_all_first_has_no_moves() -> None:
    assert not list(moves_of(Schedule({"z": normal()})))


def test_search_is_reproducible(scenario: Scenario) -> None:
    one, two = (search(scenario, forecaster(scenario), {}) for _ in range(2))
    assert one == two
    assert len(one.candidates) == 60
    assert len({repr(one.schedule) for one in one.candidates}) == 60


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_other_samplers(scenario: Scenario, sampler: str) -> None:
    spec = scenario.plan.model_copy(update={"sampler": sampler, "trials": 30})
    plan = search(scenario.model_copy(update={"plan": spec}), forecaster(scenario), {})
    assert len(plan.candidates) == 30


def test_search_tries_the_baselines_first(scenario: Scenario) -> None:
    plan = search(scenario, forecaster(scenario), {"latency": "abc"})
    pipeline = scenario.pipeline.build()
    begun = [c.schedule for c in plan.candidates[: 2 * len(SEARCHED_LAYOUTS)]]
    assert begun[::2] == [uniform(pipeline, normal(), layout) for layout in SEARCHED_LAYOUTS]
    assert begun[1::2] == [
        uniform(pipeline, constant(8, 16, 16), layout) for layout in SEARCHED_LAYOUTS
    ]
    named = plan.named()
    assert named["normal"].loss == 0
    assert named["chosen"].smooth_start_s <= named["normal"].smooth_start_s
    assert named["chosen"].agreement >= 0.5
    assert plan.limits == ("quality ≥ 0.5",)


@pytest.mark.parametrize("key", ["objectives", "limits"])
@pytest.mark.parametrize(
    ("word", "needs"),
    [
        ("score", "a quality profile that ties a task's score to the loss"),
        ("cost", "plan.prices"),
        ("goodput", "plan.goodput"),
        ("capacity.p50", "plan.goodput, simulated engines and workload.rate_per_s"),
    ],
)
def test_a_figure_that_nobody_knows_is_told(
    scenario: Scenario, key: str, word: str, needs: str
) -> None:
    asked = {"objectives": ["ttft", word]} if key == "objectives" else {"limits": {word: 1.0}}
    spec = scenario.plan.model_copy(update=asked)
    name = word.partition(".")[0]
    said = f"plan.{key}: {name!r} is not known here: needs {needs}"
    with pytest.raises(PlanError, match=f"^{re.escape(said)}.*; known: ttft"):
        search(scenario.model_copy(update={"plan": spec}), forecaster(scenario), {})


@pytest.mark.parametrize("word", ["quality", "loss.p90", "score"])
def test_simulated_engines_have_no_quality(word: str, tmp_path: Path) -> None:
    limits = parse_limits({word: 0.9999})
    work = Workspace.open(EXAMPLES / "two_layers.yaml", tmp_path).with_limits(limits)
    with pytest.raises(PlanError, match=r"^plan\.limits: .* needs a quality profile"):
        search(work.scenario, work.forecaster(), {})
    asked = Workspace.open(EXAMPLES / "two_layers.yaml", tmp_path).with_plan({"min_quality": 0.9})
    with pytest.raises(PlanError, match=r"^plan\.min_quality: .* needs a quality profile"):
        search(asked.scenario, asked.forecaster(), {})


def test_what_is_unread_is_limited_also_beside_quality_where_it_is_asked_for() -> None:
    limits = {str(one) for one in Goals.of(PlanSpec(max_unread=0.1), knows_quality=True).limits}
    assert {"quality ≥ 0.95", "unread ≤ 0.1"} <= limits
    assert not any("unread" in str(one) for one in Goals.of(PlanSpec(), knows_quality=True).limits)


def test_simulated_engines_are_planned_for_what_is_unread(tmp_path: Path) -> None:
    work = Workspace.open(EXAMPLES / "paper_moa.yaml", tmp_path).with_plan({"trials": 40})
    plan = search(work.scenario, work.forecaster(), work.profile_hashes())
    named = plan.named()
    assert plan.objectives == ("smooth_start", "unread")
    assert named["normal"].forecast["unread"].mean == 0
    assert named["chosen"].forecast["unread"].mean <= work.scenario.plan.max_unread
    assert named["chosen"].ttft_s < named["normal"].ttft_s / 5


def test_plans_come_back_as_they_were(scenario: Scenario, tmp_path: Path) -> None:
    plan = search(scenario, forecaster(scenario), {"latency": "abc"})
    save_plan(tmp_path / "plan.json", plan)
    assert load_plan(tmp_path / "plan.json") == plan


def test_forecast_of_a_known_case(scenario: Scenario) -> None:
    """Three prefills in turn, 50 tokens at 3, 2 and 1 engines in turn, the editor's prefill."""
    forecast = forecaster(scenario)(Schedule())
    decode_ms = 29 * 3 + 10 * 2 + 10
    ends_ms = 3  # each proposer's end is an iteration of its own
    assert forecast.metrics["ttft_s"].mean == pytest.approx((30 + decode_ms + ends_ms + 10) / 1000)
    assert forecast.extrapolated == ()
