"""Windows: of inputs a step shows only the last tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.api.opening import uniform_schedule
from planner.figures.describing import describe_schedule
from planner.search.neighbours import neighbours_of
from planner.search.space import Space
from planner.workspace import Workspace
from simulator.des.simulate import simulate
from simulator.profile_forecaster import ProfileForecaster
from simulator.run import run_workload
from simulator.setups import setup_of
from staircase import (
    Agent,
    Pipeline,
    RequestShape,
    Schedule,
    Timeline,
    Window,
    Workload,
    constant,
    explicit,
    moa,
    normal,
    uniform,
)
from staircase.bounds import MOST_TOKENS
from staircase.errors import ScheduleError, WorkloadError
from staircase.pipeline import Arrival
from staircase.schedule import LAYOUTS, REBUILT_LAYOUTS, Layout, parse_window
from staircase.spec.plan_spec import PlanSpec
from staircase.spec.scenario import Scenario
from staircase.spec.simulated_spec import SimulatedSpec
from tests.support.random_cases import window_case
from tests.support.window_oracle import through

SEEN = Agent("seen", arrival=Arrival(2.0))
PIPELINE = Pipeline((SEEN, Agent("z", reads=("seen",))), "z")
WITH_NOTES = Pipeline(
    (SEEN, Agent("notes", reads=("seen",)), Agent("z", reads=("seen", "notes"))), "z"
)
MOA = moa([["a", "b"]], "z")
# A block a token, so that what is cached is just what is alike.
ENGINE = SimulatedSpec(
    kind="simulated",
    decode_tokens_per_s=100,
    prefill_tokens_per_s=10_000,
    kv_blocks=1000,
    block_tokens=1,
)
QUERY = 5


def windowed(window: Window | None, layout: Layout = "rebuild_query_first") -> Schedule:
    """Reads 4, 8, 12 … tokens and writes one after each."""
    return replace(uniform(PIPELINE, constant(4, 4, 1), layout), window=window)


def play(schedule: Schedule, pipeline: Pipeline = PIPELINE, **tokens: int) -> Timeline:
    engines = {name: setup_of(ENGINE) for name in pipeline.engines}
    fixed = {f"query/{agent.name}": QUERY for agent in pipeline if not agent.arrival}
    request = RequestShape(fixed, {"seen": 20, "z": 9, "notes": 7, **tokens}, "length")
    return simulate(pipeline, schedule, engines, Workload([request]))[0]


@given(st.integers(1, 40), st.data(), st.integers(0, 200))
def test_it_is_the_end_of_what_was_read(tokens: int, data: st.DataObject, read: int) -> None:
    window = Window(tokens, data.draw(st.integers(1, tokens)))
    begin = window.begin(read)
    assert [*range(begin, read)] == through(window, [*range(read)])
    assert min(read, tokens - window.hop + 1) <= read - begin <= tokens
    assert begin % window.hop == 0
    assert begin <= window.begin(read + 1)


def test_a_window_that_holds_all_is_none() -> None:
    compared = 0
    for seed in range(12):
        case = window_case(seed)
        wide = replace(case.schedule, window=Window(MOST_TOKENS))
        try:
            lines = simulate(case.pipeline, wide, case.setups, case.workload)
        except WorkloadError:
            continue
        none = replace(wide, window=None)
        assert lines == simulate(case.pipeline, none, case.setups, case.workload)
        compared += 1
    assert compared > 6


def test_what_it_costs_in_the_cache() -> None:
    """Between two moves all that was there is found; after one, what stands before the input."""
    spans = [s for s in play(windowed(Window(8, 8))).spans if s.agent == "z"]
    assert [span.read[0] for span in spans] == [4, 8, 12, 16, 20, 20]
    # Shown: 0-4, 0-8, 8-12, 8-16, 16-20; of the last call all but a token is there.
    assert [span.cached_tokens - QUERY for span in spans[:5]] == [-QUERY, 4, 0, 4, 0]
    assert spans[5].cached_tokens == QUERY + 4 + 4
    every = [s for s in play(windowed(Window(8, 4))).spans if s.agent == "z"]
    # Shown: 0-4, 0-8, 4-12, 8-16, 12-20.
    assert [span.cached_tokens - QUERY for span in every[:5]] == [-QUERY, 4, 0, 0, 0]
    assert [s.prompt_tokens - s.written - QUERY for s in every] == [4, 8, 8, 8, 8, 8]


def test_only_inputs_are_dropped() -> None:
    line = play(replace(windowed(Window(4, 4)), staircases={}), WITH_NOTES, notes=30)
    last = next(span for span in line.spans if span.agent == "z")
    assert last.read == (20, 30)
    assert last.prompt_tokens == QUERY + 4 + 30


def test_what_was_dropped_is_unread() -> None:
    def unread(schedule: Schedule) -> float:
        request = RequestShape({"query/z": QUERY}, {"seen": 20, "z": 10}, "length")
        engines = {"z": setup_of(ENGINE)}
        return float(run_workload(PIPELINE, schedule, engines, Workload([request])).unread[0])

    whole = uniform(PIPELINE, normal(), "rebuild")
    assert unread(whole) == 0
    assert unread(replace(whole, window=Window(8))) == pytest.approx(12 / 20)
    steps = uniform(PIPELINE, explicit([(4, 5)]), "rebuild")
    # Half of the text has 4 tokens, half of it 8 of 20.
    assert unread(replace(steps, window=Window(8))) == pytest.approx((16 + 12) / 40)


def test_words() -> None:
    assert parse_window("none") is None
    assert parse_window("512") == Window(512, 1)
    assert parse_window("512/128") == Window(512, 128)
    for word in ("", "all", "5/", "5/1/1", "5.5"):
        with pytest.raises(ScheduleError, match=f"window '{word}': give none, TOKENS or TOKENS/"):
            parse_window(word)
    schedule = uniform_schedule(PIPELINE, "constant:4,4,1", "rebuild", window="8/2")
    assert schedule == windowed(Window(8, 2), "rebuild")
    words = describe_schedule(schedule)
    assert words == "rebuild, last 8 of inputs in hops of 2, read/write 4/1, then +4/1"


@pytest.mark.parametrize(
    ("tokens", "hop", "words"),
    [
        (0, 1, "window of 0 tokens: must be from 1 to"),
        (MOST_TOKENS + 1, 1, "must be from 1 to"),
        (8, 0, "window of 8 tokens: hop is 0, must be from 1 to 8"),
        (8, 9, "hop is 9, must be from 1 to 8, or there would be nothing to show"),
    ],
)
def test_windows_that_cannot_be(tokens: int, hop: int, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        Window(tokens, hop)


@pytest.mark.parametrize("layout", [one for one in LAYOUTS if one not in REBUILT_LAYOUTS])
def test_layouts_that_have_none(layout: Layout) -> None:
    with pytest.raises(ScheduleError, match=f"layout '{layout}': with a window it must be re"):
        windowed(Window(8), layout)


def test_where_none_can_be() -> None:
    with pytest.raises(ScheduleError, match="window: is not for texts that are checked"):
        replace(windowed(Window(8)), checked=None)
    with pytest.raises(ScheduleError, match="window: is for inputs, and there are none"):
        Schedule(layout="rebuild", window=Window(8)).check(MOA)


# the search


def test_windows_are_searched_in_layouts_that_have_them() -> None:
    spec = PlanSpec.model_validate(
        {
            "layouts": ["append_rounds", "rebuild"],
            "first": [4],
            "chunk": [4],
            "write": [1],
            "ratio": [2.0],
            "window": ["none", 16, "8/4"],
        }
    )
    space = Space(PIPELINE, spec)
    found = list(map(space.schedule, space))
    assert {(s.layout, s.window) for s in found} == {
        ("append_rounds", None),
        *(("rebuild", window) for window in (None, Window(16), Window(8, 4))),
    }
    # Also of what reads all first.
    assert {s.window for s in found if s.staircases["z"].is_normal} == {
        None,
        Window(16),
        Window(8, 4),
    }
    around = list(neighbours_of(windowed(Window(16), "rebuild"), spec, PIPELINE))
    assert {v.value for v in around if v.parameter == "window"} == {"none", "8/4"}
    assert {v.schedule.layout for v in around} == {"rebuild"}
    beside = neighbours_of(windowed(None, "append_rounds"), spec, PIPELINE)
    assert {v.schedule.window for v in beside} == {None}


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"window": ["8"], "layouts": ["append_rounds"]}, "window needs one of the layouts"),
        ({"window": ["8"], "checked": [0, "all"]}, "window: is not for texts that are checked"),
        ({"window": ["8/9"]}, "hop is 9, must be from 1 to 8"),
        ({"window": [True]}, "window.0"),
    ],
)
def test_what_cannot_be_searched(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlanSpec.model_validate(plan)


def scenario(inputs: dict[str, Any]) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "watching",
            "pipeline": {
                "inputs": inputs,
                "agents": {"z": {"engine": "m", "reads": list(inputs)}},
                "answer": "z",
            },
            "engines": {"m": {"model": "embedded/editor"}},
            "plan": {"window": ["none", "8/4"]},
        }
    )


def test_a_pipeline_without_inputs_has_none() -> None:
    with pytest.raises(ValueError, match=r"plan.window: is for inputs, and this pipeline has none"):
        scenario({})


def test_nor_of_what_is_kept_on_replaced_words(tmp_path: Path) -> None:
    spec = scenario({"seen": {"tokens_per_s": 3}})
    keeping = spec.plan.model_copy(update={"window": ["none"], "revision": ["rewrite", "keep"]})
    work = Workspace(spec.model_copy(update={"plan": keeping}), Path(), tmp_path)
    assert work.why_not_scored
    assert "kept on replaced words (plan.revision)" in work.why_not_scored
    rewriting = keeping.model_copy(update={"revision": ["rewrite"]})
    work = Workspace(spec.model_copy(update={"plan": rewriting}), Path(), tmp_path)
    assert work.why_not_scored is None


def test_profiles_of_quality_do_not_know_of_them(tmp_path: Path) -> None:
    work = Workspace(scenario({"seen": {"tokens_per_s": 3}}), Path(), tmp_path)
    assert (
        work.why_not_scored == "what a window drops (plan.window) is not in any profile of quality"
    )
    known: Any = object()
    workload = Workload([RequestShape({}, {"seen": 20, "z": 9})])
    forecaster = ProfileForecaster(PIPELINE, known, known, {}, workload)
    with pytest.raises(ScheduleError, match="window: the quality profile does not know what it"):
        forecaster(windowed(Window(8)))
