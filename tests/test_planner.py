from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.plan import Candidate, choose, load_plan, pareto_front, save_plan, spread_out
from planner.search import search
from profiles.latency import DecodePoint, LatencyProfile, PrefillPoint, fit_engine
from profiles.quality import QualityProfile, QualitySample, Surface
from profiles.store import provenance_of_now
from simulator.forecast import Forecaster, sampled_workload
from staircase import Schedule, constant, normal, uniform
from staircase.errors import PlanError
from staircase.metrics import summarize
from staircase.scenario import PlanSpec, Scenario, load_scenario
from staircase.schedule import LAYOUTS

DEMO = Path(__file__).parents[1] / "planner" / "demo.yaml"


def candidate(
    ttft_s: float, loss: float, agreement: float = 1.0, stall_s: float = 0.0
) -> Candidate:
    values = {"ttft_s": ttft_s, "loss": loss, "agreement": agreement, "stall_s": stall_s}
    return Candidate(Schedule(), {name: summarize([value]) for name, value in values.items()})


def slow_front(candidates: list[Candidate]) -> set[tuple[float, float]]:
    points = {(c.ttft_s, c.loss) for c in candidates}
    return {p for p in points if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points)}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_front_is_what_nobody_beats(points: list[tuple[int, int]]) -> None:
    candidates = [candidate(float(t), float(q)) for t, q in points]
    front = pareto_front(candidates)
    assert {(candidates[n].ttft_s, candidates[n].loss) for n in front} == slow_front(candidates)


def test_choice_is_the_fastest_that_is_good_enough() -> None:
    candidates = [
        candidate(1.0, 0.5, agreement=0.90),
        candidate(2.0, 0.2, agreement=0.97, stall_s=9.0),
        candidate(3.0, 0.1, agreement=0.98),
        candidate(9.0, 0.0),
    ]
    assert choose(candidates, 0.95) == 1
    assert choose(candidates, 0.95, max_stall_s=1.0) == 2
    with pytest.raises(PlanError, match=r"the best of 1 reaches 0\.900"):
        choose(candidates[:1], 0.95)


def test_spreading_keeps_the_ends() -> None:
    assert spread_out([1, 2, 3, 4, 5], 3) == (1, 3, 5)
    assert spread_out([1, 2], 3) == (1, 2)
    assert spread_out([1, 2], 1) == (1,)
    assert spread_out([1, 2], 0) == ()


def forecaster(scenario: Scenario) -> Forecaster:
    """Every prefill is 10 ms, every token 1 ms; loss falls as more is read."""
    prefill = [PrefillPoint(n, 0, 0.01, 0.0, 1.0) for n in (1, 2, 4, 8, 16, 500)]
    decode = [DecodePoint(1, n, 0.001, 0.0, 1.0) for n in (1, 100, 1000)]
    engine = fit_engine(prefill, decode, 0.0)
    surface = Surface(((1.0,), (0.5,), (0.0,)), ((0.4,), (0.7,), (1.0,)))
    written = {"north": 40, "south": 30, "east": 50, "editor": 20}
    sample = QualitySample({}, written, {"editor": dict.fromkeys(LAYOUTS, surface)})
    pipeline = scenario.pipeline.build()
    quality = QualityProfile(
        (0, 20), 20, {"editor": ("north", "south", "east")}, (sample,), provenance_of_now()
    )
    return Forecaster(
        pipeline,
        LatencyProfile(dict.fromkeys(pipeline.engines, engine), provenance_of_now()),
        quality,
        scenario.real,
        sampled_workload(quality, 1),
    )


@pytest.fixture
def scenario() -> Scenario:
    spec = PlanSpec(trials=60, min_quality=0.5)
    return load_scenario(DEMO).model_copy(update={"plan": spec})


def test_search_is_reproducible(scenario: Scenario) -> None:
    one, two = (search(scenario, forecaster(scenario), {}) for _ in range(2))
    assert one == two


def test_search_tries_the_baselines_first(scenario: Scenario) -> None:
    plan = search(scenario, forecaster(scenario), {"latency": "abc"})
    pipeline = scenario.pipeline.build()
    begun = [c.schedule for c in plan.candidates[:8]]
    assert begun[:4] == [uniform(pipeline, normal(), layout) for layout in LAYOUTS]
    assert begun[4:] == [uniform(pipeline, constant(8, 16, 16), layout) for layout in LAYOUTS]
    named = plan.named()
    assert named["normal"].loss == 0
    assert named["chosen"].ttft_s <= named["normal"].ttft_s
    assert named["chosen"].agreement >= 0.5


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
