"""The search finds what there is, says the same again, and keeps its promises on other requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.figures.front import front_of, hypervolume
from planner.figures.metric_table import BY_WORD
from planner.figures.objectives import Goals, parse_limits, parse_objective, parse_objectives
from planner.report.explain_text import explanation_lines
from planner.report.explaining import explained
from planner.report.report import render
from planner.results.plans import Candidate, HeldOut, Plan, choose, save_plan
from planner.search.search import search
from planner.search.space import Space
from planner.search.standstill import PATIENCE, Standstill
from planner.search.surrogate import Surrogate
from planner.workspace import Workspace
from simulator.analytic.lower_bound import Stage
from simulator.analytic.sketch import Sketch
from simulator.figures import AskedFigures
from simulator.forecast import Forecast, SimulatedForecaster, forecast_simulated
from simulator.forecaster import Forecaster
from simulator.robust import RobustForecaster
from staircase import Agent, Pipeline, Schedule, constant, debate, moa, normal, uniform
from staircase.errors import PlanError
from staircase.metrics.request_metrics import Floats, Summary, summarize
from staircase.metrics.run_metrics import Slo, measure_runs
from staircase.pipeline import Arrival
from staircase.spec.plan_spec import PlanSpec, PriceSpec
from staircase.spec.scenario import Scenario, load_scenario

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "examples" / "paper_moa.yaml"
SMALL: dict[str, Any] = {
    "first": [2, 4, 8],
    "chunk": [16, 64],
    "write": [8, 16, 32],
    "ratio": [2.0],
    "held_out": {"requests": 0},
}


def small(trials: int, **changes: Any) -> Workspace:
    """The paper's pipeline with a space that can be simulated whole."""
    work = Workspace.open(PAPER, None)
    plan = PlanSpec.model_validate({"trials": trials, **SMALL, **changes})
    return replace(work, scenario=work.scenario.model_copy(update={"plan": plan}))


CELLS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12)


@given(CELLS)
def test_hypervolume_of_three_objectives_counts_cells(points: list[tuple[int, int, int]]) -> None:
    cells = np.stack(np.meshgrid(*[np.arange(5)] * 3), axis=-1).reshape(-1, 3)
    beaten = [any(np.all(np.array(point) <= cell) for point in points) for cell in cells]
    assert hypervolume(points, (5, 5, 5)) == sum(beaten)


def test_search_ends_when_the_front_stands_still() -> None:
    still, front = Standstill(), [(1.0, 2.0), (2.0, 1.0)]
    assert not still.sees(front)
    seen = [still.sees([*front, (1.9999999, 1.5)]) for _ in range(PATIENCE)]
    assert seen == [*[False] * (PATIENCE - 1), True]
    assert [still.sees([(0.5, 0.5)]), still.sees([(0.5, 0.5)])] == [False, False]
    assert any(still.sees([(0.5, 0.5)]) for _ in range(PATIENCE))


def test_a_search_that_has_found_nothing_ends_too() -> None:
    still = Standstill()
    assert [still.sees([]) for _ in range(PATIENCE)][-1]


class TestGroups:
    @pytest.mark.parametrize(
        ("staircases", "groups"),
        [
            ("same", [("a.2", "b.2", "judge")]),
            ("layer", [("a.2", "b.2"), ("judge",)]),
            ("agent", [("a.2",), ("b.2",), ("judge",)]),
        ],
    )
    def test_are_who_reads_alike(self, staircases: str, groups: list[tuple[str, ...]]) -> None:
        space = self.space(debate(["a", "b"], 2), staircases=staircases)
        assert list(space.groups.values()) == groups
        schedules = {repr(space.schedule(point)) for point in space}
        shapes = 1 + 2 * 2  # normal; constant and geometric, which is another only where it grows
        assert len(schedules) <= len(space) == shapes ** len(groups) * 2
        assert len(list(space)) == len(space)

    @staticmethod
    def space(pipeline: Pipeline, **changes: Any) -> Space:
        sizes = {"first": [4], "chunk": [8, 16], "write": [4], "ratio": [2.0]}
        given = {**sizes, "layouts": ["rebuild", "interleave"], **changes}
        return Space(pipeline, PlanSpec.model_validate(given))

    def test_options_are_searched_where_they_say_something(self) -> None:
        space = self.space(
            moa([["a", "b"]], "z"),
            barrier=["all", "quorum:1", "grace:1,0.5"],
            starve=["wait", "write"],
        )
        points = list(space)
        assert {point["barrier"] for point in points} == {"all", "quorum:1", "grace:1,0.5"}
        assert all(("starve" in point) == (point["family"] != "normal") for point in points)
        assert {space.schedule(point).barrier.kind for point in points} == {
            "all",
            "quorum",
            "grace",
        }
        assert {space.schedule(point).starve for point in points} == {"wait", "write"}
        assert len({repr(dict(sorted(point.items()))) for point in points}) == len(points)

    def test_what_is_kept_is_searched_where_somebody_reads_in_steps(self) -> None:
        pipeline = Pipeline(
            (Agent("typed", arrival=Arrival(2.0)), Agent("z", reads=("typed",))), "z"
        )
        space = self.space(pipeline, revision=["rewrite", "keep"])
        points = list(space)
        assert all(("revision" in point) == (point["family"] != "normal") for point in points)
        assert {space.schedule(point).revision for point in points} == {"rewrite", "keep"}
        kept = self.space(pipeline, revision=["keep"])
        assert {kept.schedule(point).revision for point in kept} == {"keep"}

    def test_proposers_are_left_out_as_long_as_readers_keep_one(self) -> None:
        space = self.space(moa([["a", "b", "c"]], "z"), leave_out=5)
        left_out = {space.schedule(point).without for point in space}
        assert left_out == {(), ("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")}
        assert len(space) == len(list(space))
        nobody = {space.schedule(point).without for point in space.baselines()}
        assert nobody == {()}
        odd = self.space(moa([["nobody", "b", "b nobody"]], "z"), leave_out=2)
        assert len({odd.schedule(point).without for point in odd}) == 1 + 3 + 3
        narrow = self.space(moa([["a", "b", "c"]], "z"), leave_out=1)
        assert {narrow.schedule(point).without for point in narrow} == {(), ("a",), ("b",), ("c",)}
        assert "without" not in next(iter(self.space(moa([["a"]], "z"), leave_out=1)))

    def test_a_single_value_is_no_parameter(self) -> None:
        space = self.space(moa([["a"]], "z"), barrier=["quorum:1"], reading=["latest"])
        assert "barrier" not in next(iter(space))
        assert space.schedule(next(iter(space))).barrier.kind == "quorum"
        assert space.schedule(next(iter(space))).reading == "latest"

    @pytest.mark.parametrize("staircases", ["layer", "agent"])
    def test_neighbours_and_samples_are_points(self, staircases: str) -> None:
        options = {"barrier": ["all", "quorum:1"], "starve": ["wait", "write"]}
        space = self.space(debate(["a", "b"], 2), staircases=staircases, **options)
        names = {repr(dict(sorted(point.items()))) for point in space}
        tried = [*islice(space, 0, None, 7), *space.sample(30, seed=1)]
        for point in tried:
            for near in [point, *space.neighbours(point)]:
                assert repr(dict(sorted(near.items()))) in names
        assert all(repr(dict(sorted(near.items()))) in names for near in space.baselines())


def test_the_front_of_a_small_space_is_found_whole() -> None:
    work = small(trials=90)
    forecaster = work.forecaster()
    goals = Goals.of(work.scenario.plan, forecaster.knows_quality)
    space = Space(forecaster.pipeline, work.scenario.plan)
    every = {repr(s): s for s in map(space.schedule, space)}
    forecasts = [forecaster(schedule).metrics for schedule in every.values()]
    points = [goals.costs(one) for one in forecasts if goals.keeps(one)]
    exact = {points[number] for number in front_of(points)}
    found = search(work.scenario, forecaster, {})
    assert len(found.candidates) < len(every)
    costs = [goals.costs(found.candidates[number].forecast) for number in found.front]
    # What is not found itself is beaten by a free staircase.
    for point in exact:
        assert any(all(c <= p for c, p in zip(cost, point, strict=True)) for cost in costs)


def test_the_search_leaves_out_who_is_not_worth_waiting_for() -> None:
    """Of the paper's proposers the first writes most: who does not wait for it begins earlier."""
    work = small(trials=120, leave_out=1, max_unread=0.5)
    found = search(work.scenario, work.forecaster(), {})
    left_out = {one.schedule.without for one in found.candidates}
    assert left_out == {(), ("first",), ("second",), ("third",)}
    normals = {
        one.schedule.without: one.ttft_s
        for one in found.candidates
        if all(staircase.is_normal for staircase in one.schedule.staircases.values())
    }
    assert normals[("first",)] < 0.9 * normals[()]
    assert any(found.candidates[number].schedule.without for number in found.front)


def test_the_guide_learns_what_the_sketch_does_not_see() -> None:
    """Times twice as long as in the sketch: after some, others are predicted so."""
    work = small(trials=1)
    forecaster = work.forecaster()
    sketch = forecaster.sketch()
    assert sketch
    goals = Goals(parse_objectives(["ttft", "unread"]), parse_limits({"ttft": 1.0}))
    space = Space(forecaster.pipeline, work.scenario.plan)
    schedules = list({repr(s): s for s in map(space.schedule, space)}.values())
    figures = sketch.of(schedules)
    candidates = [
        Candidate(s, {"ttft_s": Summary.of(2 * t), "unread": Summary.of(u)})
        for s, t, u in zip(schedules, figures["ttft_s"], figures["unread"], strict=True)
    ]
    surrogate = Surrogate(sketch, goals)
    surrogate.add(schedules)
    known = candidates[::5]
    front = [n for n, one in enumerate(known) if one.forecast["ttft_s"].mean <= 1.0][:1]
    found = {repr(one) for one in surrogate.promising(known, front, 8)}
    times = {repr(c.schedule): c.forecast["ttft_s"].mean for c in candidates}
    assert found
    assert all(times[name] <= 1.1 for name in found)
    assert found.isdisjoint(repr(one.schedule) for one in known)


@pytest.mark.parametrize("metric", [one.name for one in BY_WORD.values()])
def test_the_guide_predicts_every_figure(metric: str) -> None:
    """Of whatever sign its cost is: more capacity costs less than none."""
    objective = next(o for o in map(parse_objective, BY_WORD) if o.metric == metric)
    sizes = [Schedule({"z": constant(n, n, n)}) for n in range(1, 9)]
    known = [Candidate(s, {metric: Summary.of(float(n))}) for n, s in enumerate(sizes[:-1])]
    surrogate = Surrogate(Sizes(), Goals((objective,), parse_limits({objective.word: 3.0})))
    surrogate.add(sizes)
    with np.errstate(all="raise"):
        surrogate.promising(known, [0], 1)


class Sizes:
    """Sketches that know one figure."""

    def of(self, schedules: Sequence[Schedule]) -> dict[str, Floats]:
        return {"unread": np.array([float(s.staircases["z"].step(0).read or 0) for s in schedules])}


def test_the_same_seed_is_the_same_file_but_for_provenance(tmp_path: Path) -> None:
    texts, prints = [], []
    for run in ("one", "two"):
        work = small(trials=50, held_out={"requests": 5})
        plan = search(work.scenario, work.forecaster(), {}, held_out=work.held_out())
        save_plan(tmp_path / run, plan)
        texts.append(without_provenance(tmp_path / run))
        prints.append(plan.fingerprint())
    assert texts[0] == texts[1]
    assert prints[0] == prints[1]


def without_provenance(path: Path) -> str:
    """The file but for when and with what it was made, and the hash that covers these."""
    document = json.loads(path.read_text())
    del document["hash"]
    for key in ("made", "machine", "python", "packages"):
        del document["content"]["provenance"][key]
    return json.dumps(document)


@pytest.mark.slow
def test_two_processes_write_the_same_plan(tmp_path: Path) -> None:
    """Python's own hashes differ between them."""
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "planner.cli.app", "plan", str(PAPER), "--trials", "60"]
        subprocess.run(
            [*command, "--out", str(tmp_path / seed)],
            check=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
        )
    plans = [without_provenance(tmp_path / seed / "plan.json") for seed in ("1", "2")]
    assert plans[0] == plans[1]


@dataclass(frozen=True)
class Rejected:
    """A search, and the same where its choice is slower on held-out requests."""

    scenario: Scenario
    forecaster: Forecaster
    free: Plan
    plan: Plan


@pytest.fixture(scope="module")
def rejected() -> Rejected:
    work = small(trials=40, limits={"stall": 1.0})
    forecaster = work.forecaster()
    free = search(work.scenario, forecaster, {})
    slower = Slower(forecaster, free.named()["chosen"].schedule)
    return Rejected(
        work.scenario, forecaster, free, search(work.scenario, forecaster, {}, held_out=slower)
    )


class TestHeldOut:
    def test_what_misses_a_limit_there_is_not_chosen(self, rejected: Rejected) -> None:
        free, plan = rejected.free, rejected.plan
        assert not free.held_out
        assert plan.chosen != free.chosen
        missed = {one.number: one.missed for one in plan.held_out if one.missed}
        assert list(missed) == [free.chosen]
        assert missed[free.chosen][0].startswith("stall.p90 ≤ 0.98, is ")

    def test_the_best_is_of_those_that_kept_the_limits_there(self, rejected: Rejected) -> None:
        free, plan = rejected.free, rejected.plan
        assert list(plan.rejected) == [free.chosen]
        assert plan.best() == plan.named()["chosen"] != free.best()
        kept = [one for one in plan.held_out if not one.missed]
        for word in ("ttft", "unread", "e2e.p90"):
            best = plan.best(word)
            assert best in [plan.candidates[one.number] for one in kept]
        least = min(one.forecast["unread"].mean for one in kept)
        assert plan.best(slo={"unread": least}).forecast["unread"].mean == least
        with pytest.raises(PlanError, match=r"none of .* schedules .*keeps"):
            plan.best(slo={"unread": least, "ttft": plan.named()["normal"].ttft_s / 2})

    def test_the_explanation_and_the_report_tell_who_was_rejected(self, rejected: Rejected) -> None:
        free, plan = rejected.free, rejected.plan
        found = explained(plan, rejected.scenario.plan, rejected.forecaster)
        assert found.explanation
        lines = explanation_lines(found, found.explanation, None)
        told = [
            line for line in lines if "not within the limits on held-out requests: 1 of" in line
        ]
        assert len(told) == 1
        assert "stall" in told[0]
        assert "not chosen, on held-out requests" in render(found)
        missed = plan.candidates[free.chosen]
        for near in found.explanation.neighbours:
            if near.figures["smooth_start"] == missed.smooth_start_s:
                assert not near.keeps_limits

    def test_if_all_miss_one_line_says_so(self) -> None:
        one = Candidate(Schedule(), {"ttft_s": summarize([1.0])})
        goals = Goals(parse_objectives(["ttft"]))
        with pytest.raises(PlanError, match=r"none of 1 schedules of the front .* stall"):
            choose([one], goals, [HeldOut(0, one.forecast, ("stall ≤ 1, is 2",))])

    @pytest.mark.parametrize(
        ("word", "reading_rate", "chosen"),
        [
            ("smooth_start", 5.0, 1),
            ("smooth_start", 100.0, 0),
            ("smooth_start.p90", 2.0, 3),
            ("ttft", 5.0, 0),
        ],
    )
    def test_what_no_reader_notices_decides_nothing(
        self, word: str, reading_rate: float, chosen: int
    ) -> None:
        """Within a token's reading time of the earliest, the loss decides; then the start."""
        candidates = [
            Candidate(
                Schedule(),
                {
                    "smooth_start_s": Summary.of(start_s),
                    "ttft_s": Summary.of(start_s),
                    "loss": Summary.of(loss),
                },
            )
            for start_s, loss in [(1.0, 0.02), (1.15, 0.01), (1.18, 0.01), (1.4, 0.005)]
        ]
        goals = Goals(parse_objectives([word, "loss"])).of_reader(reading_rate)
        assert choose(candidates, goals) == chosen

    def test_margins_are_to_the_worse(self) -> None:
        limits = parse_limits({"ttft": 2.0, "quality": 0.9, "goodput": 10.0})
        goals = Goals(parse_objectives(["ttft"]), limits).tightened(0.1)
        assert [limit.figure for limit in goals.limits] == pytest.approx([1.8, 0.91, 11.0])

    def test_requests_are_others(self) -> None:
        work = Workspace.open(ROOT / "examples" / "two_layers.yaml", None)
        seen, unseen = work.forecaster(), work.held_out()
        assert isinstance(seen, SimulatedForecaster)
        assert isinstance(unseen, SimulatedForecaster)
        assert len(unseen.workload.requests) == work.scenario.plan.held_out.requests
        lengths = [[r.output_tokens for r in one.workload.requests] for one in (seen, unseen)]
        assert not any(request in lengths[0] for request in lengths[1])
        assert repr(seen.engines) == repr(unseen.engines)


class Slower:
    """A forecaster that has one schedule stall."""

    def __init__(self, forecaster: Any, slow: Schedule) -> None:
        self.forecaster, self.slow = forecaster, slow
        self.pipeline, self.knows_quality = forecaster.pipeline, forecaster.knows_quality

    def sketch(self) -> Sketch | None:
        return None

    def __call__(self, schedule: Schedule) -> Forecast:
        forecast: Forecast = self.forecaster(schedule)
        if schedule != self.slow:
            return forecast
        return replace(forecast, metrics={**forecast.metrics, "stall_s": summarize([3.0, 3.0])})


class Fixed:
    """A forecaster in which every schedule has the same figures."""

    pipeline = moa([["a"]], "z")
    knows_quality = False

    def __init__(self, metrics: Mapping[str, Summary]) -> None:
        self.metrics = metrics

    @property
    def stage(self) -> Stage:
        raise AssertionError("nobody asks for it")

    def sketch(self) -> Sketch | None:
        return None

    def __call__(self, schedule: Schedule) -> Forecast:
        return Forecast(self.metrics, None, (), (), ())


def test_robust_figures_are_those_of_bad_cases() -> None:
    forecasters: list[Forecaster] = [
        Fixed({"ttft_s": summarize([t, t + 2]), "goodput_per_s": Summary.of(t)})
        for t in (1.0, 2.0, 3.0, 4.0, 5.0)
    ]
    found = RobustForecaster(forecasters, 0.75)(Schedule()).metrics
    assert found["ttft_s"].mean == 5.0
    assert (found["ttft_s"].low, found["ttft_s"].high) == (2.0, 6.0)
    assert found["goodput_per_s"].mean == 2.0


def test_robust_forecasts_differ_in_lengths_and_speed() -> None:
    work = Workspace.open(ROOT / "examples" / "other_hardware.yaml", None)
    work = work.with_plan({"robust": PlanSpec.model_validate({"robust": {"seeds": 3}}).robust})
    forecaster = work.forecaster()
    assert isinstance(forecaster, RobustForecaster)
    schedule = uniform(forecaster.pipeline, normal())
    each = [forecaster(schedule).metrics["ttft_s"].mean for forecaster in forecaster.forecasters]
    assert len(set(each)) == 3
    assert forecaster(schedule).metrics["ttft_s"].mean == pytest.approx(np.quantile(each, 0.9))


class TestFigures:
    @pytest.fixture
    def scenario(self) -> Scenario:
        return load_scenario(PAPER)

    def test_cost_is_tokens_at_their_prices(self, scenario: Scenario) -> None:
        """Normal: every agent is asked once; nothing but headers could be cached."""
        forecaster = SimulatedForecaster.open(scenario)
        price = PriceSpec(input=2.0, output=8.0)
        wanted = AskedFigures({"first": price, "aggregator": price})
        found = wanted.figures([forecaster.play(uniform(forecaster.pipeline, normal()))])[
            "cost"
        ].mean
        lengths = scenario.workload.output_tokens if scenario.workload else {}
        written = int(str(lengths["first"])) + int(str(lengths["aggregator"]))
        read = sum(int(str(lengths[name])) for name in ("first", "second", "third"))
        assert found == pytest.approx((8.0 * written + 2.0 * (100 + 100 + read)) / 1e6)

    def test_cached_tokens_have_a_price_of_their_own(self, scenario: Scenario) -> None:
        forecaster = SimulatedForecaster.open(scenario)
        run = forecaster.play(uniform(forecaster.pipeline, constant(8, 64, 32)))
        tokens = run.tokens["aggregator"]
        assert tokens.cached > 0
        assert tokens.written == 486 * 20
        dear, cheap = (
            AskedFigures({"aggregator": PriceSpec(input=1.0, cached=cached)})
            .figures([run])["cost"]
            .mean
            for cached in (None, 0.1)
        )
        assert dear - cheap == pytest.approx(0.9 * tokens.cached / 1e6 / 20)

    def test_tokens_are_the_same_however_it_is_played(self, scenario: Scenario) -> None:
        forecaster = SimulatedForecaster.open(scenario)
        fast = forecaster.play(uniform(forecaster.pipeline, constant(8, 64, 32)))
        assert sum(one.prefilled for one in fast.tokens.values()) == pytest.approx(
            fast.measured.columns["prefilled_tokens"].sum()
        )

    def test_capacity_is_the_highest_rate_at_which_enough_requests_are_good(self) -> None:
        work = Workspace.open(ROOT / "examples" / "two_layers.yaml", None).with_requests(40)
        goals = {"goodput": {"ttft": 3.0}, "capacity_share": 0.75}
        asked = work.with_plan({**goals, "objectives": ["capacity.p50", "unread"]}).scenario
        forecaster = SimulatedForecaster.open(asked)
        schedule = uniform(forecaster.pipeline, constant(32, 64, 8))
        found = forecaster(schedule).metrics["capacity_per_s"].mean

        def good_share(rate: float) -> float:
            assert asked.workload
            workload = asked.workload.model_copy(update={"rate_per_s": rate})
            again = forecast_simulated(asked.model_copy(update={"workload": workload}), schedule)
            return measure_runs(again.runs, Slo(ttft_s=3.0)).good_share

        assert good_share(0.999 * found) >= 0.75 > good_share(1.011 * found)
        assert "capacity_per_s" not in SimulatedForecaster.open(work.scenario)(schedule).metrics
        assert Goals.of(asked.plan, False).costs({**forecaster(schedule).metrics})[0] == -found

    def test_reserved_time_is_of_all_replicas_goodput_of_good_requests(
        self, scenario: Scenario
    ) -> None:
        forecaster = SimulatedForecaster.open(scenario)
        run = forecaster.play(uniform(forecaster.pipeline, normal()))
        found = AskedFigures(slo=Slo(ttft_s=1.0)).figures([run])
        assert found["reserved_s"].mean == pytest.approx(4 * run.measured.duration_s / 20)
        assert found["goodput_per_s"].mean == 0
        assert "cost" not in found
        kept = AskedFigures(slo=Slo(ttft_s=60.0)).figures([run])["goodput_per_s"].mean
        assert kept == pytest.approx(20 / run.measured.duration_s)
