"""Simulated agents that think: thoughts take the time of tokens, and nobody reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from planner.tuning.run_log import PlayedRun, shapes
from profiles.lengths import LengthSample
from simulator.analytic.request_form import closed_form
from simulator.analytic.sketch import sketch_of
from simulator.compiled.play import play_compiled
from simulator.des.batching import BatchingSetup
from simulator.des.endpoint import EndpointSetup
from simulator.des.limits import Limits
from simulator.des.serial import SerialSetup
from simulator.des.simulate import simulate
from simulator.engine import EngineSetup
from simulator.profile_forecaster import sampled_workload
from simulator.run import run_workload
from simulator.workloads import workload_of
from staircase import Pipeline, RequestShape, Schedule, Timeline, Workload, constant, moa, single
from staircase.errors import ScenarioError, ScheduleError
from staircase.metrics.measured import measure_all
from staircase.schedule import uniform
from staircase.spec.scenario import load_scenario
from staircase.spec.workload_spec import WorkloadSpec
from staircase.timeline import to_ps
from tests.support.backends import fixed_profile
from tests.test_batching import plain_cost

BATCHING = BatchingSetup(plain_cost(), Limits(64, 8, 100, 4))
ENGINES: dict[str, EngineSetup] = {
    "serial": SerialSetup(fixed_profile()),
    "batching": BATCHING,
    "endpoint": EndpointSetup(to_ps(0.01), to_ps(0.002), spread=0.3),
}


def play(
    pipeline: Pipeline,
    written: dict[str, int],
    thought: dict[str, int],
    setup: EngineSetup,
    schedule: Schedule | None = None,
) -> Timeline:
    fixed = {f"query/{agent.name}": 5 for agent in pipeline}
    request = RequestShape(fixed, written, thinking_tokens=thought)
    engines = dict.fromkeys(pipeline.engines, setup)
    return simulate(pipeline, schedule or Schedule(), engines, Workload([request]))[0]


@pytest.mark.parametrize("setup", ENGINES.values(), ids=list(ENGINES))
@pytest.mark.parametrize("written", [0, 1, 9])
def test_a_thought_takes_the_time_of_as_many_tokens(setup: EngineSetup, written: int) -> None:
    alone = single("z")
    plain = play(alone, {"z": 20 + written}, {}, setup)
    line = play(alone, {"z": written}, {"z": 20}, setup)
    assert line.answer_ps == plain.answer_ps[20:]
    assert line.thought_ps == plain.answer_ps[0]
    assert line.completed_ps == plain.completed_ps
    (span,), (whole,) = line.spans, plain.spans
    assert (span.thinking_tokens, span.output_tokens) == (20, written)
    assert span.busy_ps == whole.busy_ps
    assert span.made_tokens == whole.output_tokens


@pytest.mark.parametrize("setup", ENGINES.values(), ids=list(ENGINES))
def test_max_tokens_are_those_of_the_answer(setup: EngineSetup) -> None:
    alone = single("z", max_tokens=6)
    line = play(alone, {"z": 50}, {"z": 20}, setup)
    assert (len(line.answer_ps), line.spans[0].reason) == (6, "length")


@pytest.mark.parametrize("setup", ENGINES.values(), ids=list(ENGINES))
def test_levels_count_what_is_written(setup: EngineSetup) -> None:
    """A reader of 4 tokens begins when 4 are there of who has thought, and never thinks twice."""
    pipeline = moa([["p"]], answer="z")
    schedule = uniform(pipeline, constant(4, 4, 3))
    line = play(pipeline, {"p": 12, "z": 9}, {"p": 15, "z": 2}, setup, schedule)
    plain = play(single("p"), {"p": 27}, {}, setup)
    steps = [span for span in line.spans if span.agent == "z"]
    if setup is not ENGINES["serial"] and not isinstance(setup, EndpointSetup):
        assert steps[0].submitted_ps == plain.answer_ps[15 + 3]
    assert [span.read for span in steps[:3]] == [(4,), (8,), (12,)]
    assert [span.thinking_tokens for span in steps] == [2] + [0] * (len(steps) - 1)
    assert line.thinking_tokens == {"p": 15, "z": 2}


def test_a_text_goes_on_without_its_thought_in_the_cache() -> None:
    pipeline = moa([["p"]], answer="z")
    schedule = uniform(pipeline, constant(4, 4, 8), layout="rebuild_query_first")
    first, second = [
        [span.cached_tokens for span in line.spans if span.agent == "z"][1]
        for line in (
            play(pipeline, {"p": 4, "z": 40}, {"z": thought}, BATCHING, schedule)
            for thought in (0, 16)
        )
    ]
    assert first > second


def test_figures_of_a_run() -> None:
    pipeline = single("z")
    engines: dict[str, EngineSetup] = {"z": BATCHING}
    shape = RequestShape({"query/z": 5}, {"z": 7}, thinking_tokens={"z": 30})
    run = run_workload(pipeline, Schedule(), engines, Workload([shape] * 3))
    assert run.measured.columns["thinking_tokens"].tolist() == [30.0] * 3
    assert run.tokens["z"].written == 3 * 37
    first, ttft = (run.measured.columns[name] for name in ("first_output_s", "ttft_s"))
    assert (first < ttft).all()


def test_what_is_fast_leaves_thoughts_to_the_simulator() -> None:
    pipeline = moa([["p"]], answer="z")
    engines: dict[str, EngineSetup] = dict.fromkeys(pipeline.engines, BATCHING)
    fixed = {f"query/{agent.name}": 5 for agent in pipeline}
    shape = RequestShape(fixed, {"p": 9, "z": 9}, thinking_tokens={"p": 1})
    workload = Workload([shape])
    assert play_compiled(pipeline, Schedule(), engines, workload) is None
    assert sketch_of(pipeline, engines, workload) is None
    with pytest.raises(ScheduleError, match="agents think before they write"):
        closed_form(pipeline, Schedule(), engines, shape)


def test_lengths_of_thoughts_leave_all_other_draws(tmp_path: Path) -> None:
    pipeline = moa([["p"]], answer="z")
    spec = WorkloadSpec.model_validate(
        {"requests": 9, "output_tokens": {"p": {"mean": 50, "sigma": 0.5}, "z": 8}}
    )
    more = {"p": {"mean": 200, "sigma": 0.9}}
    given = {**spec.model_dump(exclude_unset=True), "thinking_tokens": more}
    thinking = WorkloadSpec.model_validate(given)
    plain, found = (workload_of(one, pipeline, tmp_path) for one in (spec, thinking))
    pairs = list(zip(plain.requests, found.requests, strict=True))
    assert all(a.output_tokens == b.output_tokens and not a.thinks for a, b in pairs)
    assert len({b.thinking_tokens["p"] for _, b in pairs}) > 5


def scenario(folder: Path, **content: Any) -> Path:
    engine = "{kind: simulated, decode_tokens_per_s: 50, prefill_tokens_per_s: 4000}"
    path = folder / "scenario.yaml"
    path.write_text(
        "name: thinking\npipeline: {single: z, agents: {z: {thinking: THINKING}}}\n"
        f"engines: {{z: {engine}}}\n"
        "workload: {output_tokens: {z: 5}, thinking_tokens: {WHO: 9}}\n".replace(
            "WHO", content.get("who", "z")
        )
    )
    text = path.read_text().replace("THINKING", content.get("thinking", "null"))
    path.write_text(text)
    return path


def test_a_scenario_says_how_much_is_thought(tmp_path: Path) -> None:
    spec = load_scenario(scenario(tmp_path)).workload
    assert spec
    assert spec.thinking_tokens == {"z": 9}
    with pytest.raises(ScenarioError, match=r"workload\.thinking_tokens: 'y' is no agent"):
        load_scenario(scenario(tmp_path, who="y"))
    with pytest.raises(ScenarioError, match=r"think as workload\.thinking_tokens says"):
        load_scenario(scenario(tmp_path, thinking="{budget: 9}"))


def test_measured_lengths_are_forecast_with_their_thoughts() -> None:
    samples = [LengthSample({}, {"z": 5}, {"z": 40}), LengthSample({}, {"z": 5})]
    first, second = sampled_workload(samples, 2).requests
    assert (first.thinking_tokens, second.thinks) == ({"z": 40}, False)


def test_so_are_runs_of_a_tuning() -> None:
    line = play(single("z"), {"z": 9}, {"z": 20}, BATCHING)
    run = PlayedRun(0, 0, "normal", 0, Schedule(), line, {"query/z": 5}, 1.0, None)
    (shape,) = shapes(single("z"), [run])
    assert shape == RequestShape({"query/z": 5}, {"z": 9}, thinking_tokens={"z": 20})
    assert measure_all([line]).columns["thinking_tokens"].tolist() == [20.0]
