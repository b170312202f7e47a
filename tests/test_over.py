"""What cannot be, or has no end, is told: stalled requests, empty answers, rates nobody keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planner
from simulator.analytic.sketch import sketch_of
from simulator.compiled.play import play_compiled
from simulator.des.simulate import simulate
from simulator.forecast import SimulatedForecaster, capacity_of
from simulator.run import run_workload
from staircase import RequestShape, Schedule, Workload, constant, moa, uniform
from staircase.conducting.sources import Sources
from staircase.errors import PlanError
from staircase.metrics.run_metrics import Slo
from staircase.spec.scenario import Scenario
from tests.test_sketch import SETUP

PIPELINE = moa([["a", "b"]], "z")
ENGINES = dict.fromkeys(PIPELINE.engines, SETUP)
STAIRCASE = uniform(PIPELINE, constant(4, 4, 4))


def request(a: int, b: int, z: int) -> RequestShape:
    return RequestShape({f"query/{name}": 8 for name in "abz"}, {"a": a, "b": b, "z": z})


def scenario(z: Any = 20, a: Any = 12, **changes: Any) -> Scenario:
    engine = {"kind": "simulated", "decode_tokens_per_s": 50, "prefill_tokens_per_s": 5000}
    workload = {"requests": 6, "query_tokens": 20, "output_tokens": {"a": a, "b": 9, "z": z}}
    return Scenario.model_validate(
        {
            "name": "over",
            "pipeline": {"moa": {"layers": [["a", "b"]], "answer": "z"}},
            "engines": dict.fromkeys("abz", engine),
            "workload": {**workload, **changes.pop("workload", {})},
            "plan": {"trials": 12, "held_out": {"requests": 0}} | changes,
        }
    )


def test_a_request_that_stalls_on_simpy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sources, "is_open", lambda _, desk, *__: not desk.agent.reads)
    with pytest.raises(AssertionError, match="I8: 2 of 2 requests are not over"):
        simulate(PIPELINE, STAIRCASE, ENGINES, Workload([request(9, 9, 9)] * 2))


def test_a_table_that_stalls_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if the loop had found nothing more to do.
    monkeypatch.setattr("simulator.compiled.play.play", lambda *_: 0)
    with pytest.raises(AssertionError, match="I8: 2 of 2 requests are not over"):
        play_compiled(PIPELINE, STAIRCASE, ENGINES, Workload([request(9, 9, 9)] * 2))


@pytest.mark.parametrize("silent", ["a", "b", "ab"])
def test_sources_that_write_nothing_are_sketched_exactly(silent: str) -> None:
    a, b = (0 if name in silent else 15 for name in "ab")
    asked = request(a, b, 20)
    sketch = sketch_of(PIPELINE, ENGINES, Workload([asked]))
    assert sketch
    found = sketch.of([STAIRCASE, Schedule()])
    for place, schedule in enumerate((STAIRCASE, Schedule())):
        run = run_workload(PIPELINE, schedule, ENGINES, Workload([asked]))
        for name in ("ttft_s", "e2e_s", "stall_s"):
            assert found[name][place] == pytest.approx(run.measured.columns[name][0], abs=1e-9)


def test_there_is_no_sketch_where_the_answer_is_always_empty() -> None:
    assert sketch_of(PIPELINE, ENGINES, Workload([request(5, 5, 0)] * 3)) is None
    some = sketch_of(PIPELINE, ENGINES, Workload([request(5, 5, 0), request(5, 5, 3)]))
    assert some
    assert [one.output_tokens["z"] for one in some.requests] == [3]


@pytest.mark.parametrize("a", [{"values": [0]}, {"values": [0, 12]}])
def test_silent_sources_are_planned(a: Any) -> None:
    found = planner.plan(scenario(a=a))
    assert np.isfinite(found.named()["chosen"].ttft_s)


@pytest.mark.parametrize(
    ("z", "objectives", "word"),
    [
        ({"values": [0]}, ["ttft", "unread"], "ttft"),
        ({"values": [0]}, ["e2e.p90"], "e2e"),
        (1, ["unread", "tpot"], "tpot"),
    ],
)
def test_figures_that_no_answer_has_are_told(z: Any, objectives: list[str], word: str) -> None:
    with pytest.raises(PlanError, match=rf"^plan\.objectives: '{word}' has no value here"):
        planner.plan(scenario(z=z, objectives=objectives))
    with pytest.raises(PlanError, match=rf"^plan\.limits: '{word}' has no value here"):
        planner.plan(scenario(z=z, objectives=["unread"]), slo={"unread": 1.0, word: 1.0})


def test_a_trace_of_empty_answers_is_told(tmp_path: Path) -> None:
    line = '{"arrival_s": 0, "query_tokens": 9, "output_tokens": 0}\n'
    (tmp_path / "trace.jsonl").write_text(line * 3)
    given = scenario().model_dump(mode="json", exclude_unset=True)
    given["workload"] = {
        "trace": {"file": str(tmp_path / "trace.jsonl"), "format": "own"},
        "output_tokens": {"a": 5, "b": 5},
    }
    with pytest.raises(PlanError, match=r"'ttft' has no value here"):
        planner.plan(Scenario.model_validate(given), objectives=["ttft", "unread"])


def rated(requests: int, **plan: Any) -> Scenario:
    workload = {"requests": requests, "rate_per_s": 1.0}
    return scenario(workload=workload, objectives=["capacity", "unread"], **plan)


def test_that_no_rate_keeps_the_limits_is_told_also_of_many_requests() -> None:
    """At the lowest rate of all, a thousand requests would arrive after the clock's end."""
    forecaster = SimulatedForecaster.open(rated(1000))
    found = capacity_of([forecaster], Schedule(), Slo(ttft_s=0.001), 0.9)
    assert found.rate_per_s is None
    assert len(found.trials) > 5


def test_a_search_goes_on_beside_schedules_that_no_rate_keeps() -> None:
    found = planner.plan(rated(20, goodput={"ttft": 0.2}))
    rates = [one.forecast["capacity_per_s"].mean for one in found.candidates]
    assert 0.0 in rates
    assert found.named()["chosen"].forecast["capacity_per_s"].mean > 0


@pytest.mark.parametrize("word", ["capacity", "goodput"])
def test_that_no_schedule_keeps_them_is_told(word: str) -> None:
    given = rated(5, goodput={"ttft": 0.001})
    with pytest.raises(PlanError, match=rf"^plan\.objectives: '{word}' is 0 for each of"):
        planner.plan(given, objectives=[word, "unread"])
