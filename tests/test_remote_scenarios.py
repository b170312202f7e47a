"""Scenario files with engines behind servers: opened, asked, run and validated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from executor.opened_engines import open_engines, read_dataset
from executor.runtime import Job
from planner.evaluation.validate import contenders, validate
from planner.results.plans import Candidate, Plan
from planner.results.recorded_runs import load_runs, recorded, save_runs
from planner.results.validation import load_validation, save_validation
from planner.tables.validation_table import validation_cells
from profiles.store import provenance_of_now
from staircase import Schedule, constant, uniform
from staircase.errors import EngineError, ModelError, RecordError, ScenarioError
from staircase.metrics.request_metrics import summarize
from staircase.spec.scenario import Scenario, load_scenario
from tests.support.command_line import staircase
from tests.support.fake_server import FakeServer, Manners
from tests.test_cli import DEMO

KEY = "sk-very-secret"


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer(Manners(takes_ids=False, length=30)) as fake:
        yield fake


def write_demo(folder: Path, url: str, **options: Any) -> Path:
    """The demo with every engine behind one server."""
    content = yaml.safe_load(DEMO.read_text())
    for name in content["engines"]:
        content["engines"][name] = {"kind": "openai", "base_url": url, "model": name, **options}
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def demo(folder: Path, url: str, **options: Any) -> Scenario:
    return load_scenario(write_demo(folder, url, **options))


def counted(last: int) -> str:
    return "".join(f" {number}" for number in range(1, last + 1))


def test_one_client_and_one_probe_for_what_is_the_same(fake: FakeServer, tmp_path: Path) -> None:
    scenario = demo(tmp_path, fake.url, max_concurrency=2)
    schedule = uniform(scenario.pipeline.build(), constant(8, 8, 6))
    with open_engines(scenario) as opened:
        assert len(fake.bodies) == 4 * 6, "one probe a model"
        assert fake.connections == 1
        question = read_dataset(scenario, tmp_path, 1, 0)[0]
        outcome = opened.runtime.run([Job(scenario.pipeline.build(), schedule, question)])[0]
    assert outcome.timeline.error is None
    assert set(outcome.texts.values()) == {counted(30)}


def test_sampling_is_sent_and_every_call_has_its_seed(fake: FakeServer, tmp_path: Path) -> None:
    sampling = {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "seed": 4}
    scenario = demo(tmp_path, fake.url, **sampling)
    pipeline = scenario.pipeline.build()
    question = read_dataset(scenario, tmp_path, 1, 0)[0]
    job = Job(pipeline, uniform(pipeline, constant(8, 8, 6)), question)
    seeds = []
    with open_engines(scenario) as opened:
        for _ in range(2):
            fake.begin()
            opened.runtime.run([job])
            assert all(sampling.items() - {("seed", 4)} <= body.items() for body in fake.bodies)
            seeds.append(sorted(body["seed"] for body in fake.bodies))
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == len(seeds[0]) > 4


@pytest.mark.parametrize("field", ["top_p", "top_k", "seed"])
def test_what_the_scenario_asks_for_and_the_server_does_not_take(
    tmp_path: Path, field: str
) -> None:
    with FakeServer(Manners(fields=frozenset({"stream_options"}))) as fake:
        scenario = demo(tmp_path, fake.url, temperature=0.7, **{field: 1})
        with pytest.raises(EngineError, match=f"engine 'north': .* does not take {field}"):
            open_engines(scenario).__enter__()


def test_the_key_comes_from_the_environment(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = demo(tmp_path, fake.url, api_key_env="SOME_KEY")
    with pytest.raises(ScenarioError, match="api_key_env names SOME_KEY, which is not set"):
        open_engines(scenario).__enter__()
    monkeypatch.setenv("SOME_KEY", f"{KEY}\nand more")
    with pytest.raises(ScenarioError, match="what SOME_KEY holds is no key") as told:
        open_engines(scenario).__enter__()
    assert KEY not in str(told.value)
    monkeypatch.setenv("SOME_KEY", f"{KEY}\n")
    with open_engines(scenario) as opened:
        assert KEY not in repr(opened)
    assert {headers["authorization"] for headers in fake.headers} == {f"Bearer {KEY}"}


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    scenario = demo(tmp_path, "http://127.0.0.1:9/v1", tries=1)
    with pytest.raises(EngineError, match=r"engine 'north': http://127.0.0.1:9/v1: cannot connect"):
        open_engines(scenario).__enter__()


def test_a_tokenizer_that_is_not_there(fake: FakeServer, tmp_path: Path) -> None:
    scenario = demo(tmp_path, fake.url, tokenizer="./nowhere")
    with pytest.raises(ModelError, match=r"model './nowhere': no such folder"):
        open_engines(scenario).__enter__()


def test_validation_measures_what_can_be_measured(fake: FakeServer, tmp_path: Path) -> None:
    """Latency and the task's score; a server cannot be asked for probabilities."""
    scenario = demo(tmp_path, fake.url)
    pipeline = scenario.pipeline.build()
    names = ("ttft_s", "smooth_start_s", "e2e_s", "loss", "agreement")
    forecast = {name: summarize([1.0]) for name in names}
    candidates = tuple(
        Candidate(schedule, forecast)
        for schedule in (uniform(pipeline, constant(8, 8, 6)), Schedule())
    )
    plan = Plan("x", ("ttft",), (), candidates, (0, 1), 0, 1, 1, 5.3, {}, provenance_of_now())
    with open_engines(scenario) as opened:
        checked, played = validate(scenario, tmp_path, plan, opened, requests=2, front=0)
    for row in checked.rows:
        assert {"ttft_s", "score"} <= row.measured.keys()
        assert "loss" not in row.measured
        assert row.timeline.arrival_ps == 0
        assert sum(p.mean_s for p in row.ttft.parts) == pytest.approx(row.measured["ttft_s"].mean)
    assert len(validation_cells(checked).rows) == 2 * len(checked.rows)
    assert {row.timeline.request for row in checked.rows} <= {
        run.outcome.timeline.request for runs in played.values() for run in runs
    }
    assert {"loss", "agreement"}.isdisjoint(checked.errors)
    save_validation(tmp_path / "v.json", checked)
    assert load_validation(tmp_path / "v.json") == checked
    kept = recorded(scenario, contenders(plan, 0), played)
    save_runs(tmp_path / "runs.jsonl", kept)
    assert load_runs(tmp_path / "runs.jsonl") == kept
    assert [len([r for r in kept.runs if r.name == row.name]) for row in checked.rows] == [2, 2, 2]
    for run in kept.runs:
        assert len(run.timeline.answer_ps) == run.timeline.written["editor"]
        assert run.texts["editor"]


def test_recorded_runs_that_are_none_are_told(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    for text, said in {
        "": "schema: must be 'staircase.runs/1'",
        '{"schema": "x"}': "line 1: schema: must be",
        '{"schema": "staircase.runs/1"}': "line 1: scenario: Field required",
    }.items():
        path.write_text(text)
        with pytest.raises(RecordError, match=re.escape(said)):
            load_runs(path)


class TestEnginesCommand:
    def test_json(self, fake: FakeServer, tmp_path: Path) -> None:
        done = staircase("engines", str(write_demo(tmp_path, fake.url)), "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert [one["name"] for one in found] == ["north", "south", "east", "editor"]
        assert found[0]["api"] == "chat"
        assert found[0]["tokens"] == "text"
        assert "ignore_eos" in found[0]["fields"]
        assert found[0]["reports_cached"] is True
        assert found[0]["error"] is None

    def test_table(self, fake: FakeServer, tmp_path: Path) -> None:
        done = staircase("engines", str(write_demo(tmp_path, fake.url)))
        assert done.returncode == 0, done.stderr
        for words in ("editor", "chat", "ids in", "tells cached"):
            assert words in done.stdout

    def test_in_process_engines_need_no_asking(self) -> None:
        done = staircase("engines", str(DEMO), "--json")
        assert done.returncode == 0, done.stderr
        assert {one["kind"] for one in json.loads(done.stdout)} == {"transformers"}

    def test_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        path = write_demo(tmp_path, "http://127.0.0.1:9/v1", tries=1)
        done = staircase("engines", str(path))
        assert done.returncode == 1
        assert "engine: engine 'north': http://127.0.0.1:9/v1: cannot connect" in done.stderr
        assert done.stderr.count("\n") == 1
