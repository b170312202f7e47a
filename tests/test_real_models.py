"""The experiment on real models: its scenarios, and what it prints. It is run by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.real_models import PARTS, SCENARIOS, quote, screen, times
from executor.opened_engines import read_dataset
from planner.results.recorded_runs import SCHEMA, RecordedRun, RecordedRuns, RunsHeader
from profiles.store import provenance_of_now
from staircase.schedule import Schedule
from staircase.spec.scenario import load_scenario
from staircase.timeline import PS_PER_S, Timeline


@pytest.mark.parametrize("part", PARTS)
def test_its_scenarios_hold(part: str) -> None:
    scenario = load_scenario(SCENARIOS / f"{part}.yaml")
    questions = read_dataset(scenario, SCENARIOS, 24, offset=0)
    assert len({question.text for question in questions}) == 24
    readers = [agent for agent in scenario.pipeline.build() if agent.reads]
    for agent in readers:
        spec = scenario.engines[agent.engine]
        assert getattr(spec, "temperature", 0) == 0 or agent.name != "editor"
    assert not scenario.simulated
    # Whoever is asked about answers wrote none of them.
    other = scenario.requests.likelihood_by
    assert other
    assert other not in {getattr(scenario.engines[one.engine], "model", "") for one in readers}


def test_every_part_has_its_file() -> None:
    assert {path.stem for path in Path(SCENARIOS).glob("*.yaml")} == set(PARTS)


def test_times_are_those_of_the_runs() -> None:
    scenario = load_scenario(SCENARIOS / "servers.yaml")
    header = RunsHeader(
        SCHEMA,
        scenario.model_dump(mode="json", exclude_unset=True),
        {"normal": Schedule()},
        provenance_of_now(),
    )
    second = PS_PER_S
    # Of a reader of 5 tokens a second, who waits for the second token.
    answer = (second, 3 * second)
    line = Timeline(0, 0, 3 * second, (), answer, {"editor": 2})
    runs = (RecordedRun("normal", "why?", {"editor": "so"}, line),) * 2
    with screen.capture() as captured:
        screen.print(times(RecordedRuns(header, runs)))
    row = next(line for line in captured.get().splitlines() if "normal" in line)
    assert [cell.split()[0] for cell in row.split("│")[2:5]] == ["1.00", "2.80", "3.00"]


def test_answers_to_the_same_questions_are_quoted() -> None:
    scenario = load_scenario(SCENARIOS / "servers.yaml")
    line = Timeline(0, 0, 1, (), (1,), {"editor": 1})
    runs = tuple(
        RecordedRun(name, f"question {number}", {"editor": f"[{name} {number}]"}, line)
        for name in ("normal", "chosen")
        for number in (range(5) if name == "normal" else reversed(range(5)))
    )
    header = RunsHeader(
        SCHEMA, scenario.model_dump(mode="json", exclude_unset=True), {}, provenance_of_now()
    )
    with screen.capture() as captured:
        quote(RecordedRuns(header, runs))
    told = captured.get()
    for number in range(3):
        at = told.index(f"question {number}")
        assert told.index(f"chosen: [chosen {number}]") > at
    assert "question 3" not in told
