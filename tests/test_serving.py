"""From a planned scenario to a served plan, on embedded models; what is wrong is told before."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient

from executor.gateway.keys import Key
from executor.gateway.listening import Listening
from executor.opened_engines import open_engines, read_dataset
from executor.runtime import Job
from planner.api.serving import application, gateway_of, plan_of, serve, stale_words
from planner.cli.keys_file import load_keys
from planner.results.plans import Plan, save_plan
from planner.workspace import Workspace
from staircase.errors import InputError, PlanError, ScenarioError
from staircase.workload import Question
from tests.support.command_line import staircase
from tests.support.gateway_server import Running, listening_to
from tests.support.plans import paper_plan

NAMES = ("first", "second", "third")
SCENARIO: dict[str, Any] = {
    "name": "answers",
    "pipeline": {
        "moa": {"layers": [list(NAMES)], "answer": "aggregator"},
        "agents": {
            **{name: {"role": "<report>", "max_tokens": 96} for name in NAMES},
            "aggregator": {"role": "<edit>", "max_tokens": 48},
        },
    },
    "engines": {name: {"model": "embedded"} for name in (*NAMES, "aggregator")},
}


@pytest.fixture(scope="module")
def found() -> Plan:
    return replace(paper_plan(), scenario="answers", profile_hashes={})


def planned(folder: Path, plan: Plan | None, **changes: Any) -> Path:
    """A scenario's file with its plan in runs/."""
    path = folder / "answers.yaml"
    path.write_text(yaml.safe_dump(SCENARIO | changes))
    if plan is not None:
        (folder / "runs").mkdir(exist_ok=True)
        save_plan(folder / "runs" / "plan.json", plan)
    return path


def work_of(folder: Path, plan: Plan | None, **changes: Any) -> Workspace:
    return Workspace.open(planned(folder, plan, **changes), folder / "runs")


@pytest.fixture(scope="module")
def work(found: Plan, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return work_of(tmp_path_factory.mktemp("served"), found)


@pytest.fixture(scope="module")
def server(work: Workspace) -> Iterator[Running]:
    with gateway_of([work]) as gateway, listening_to(gateway) as running:
        yield running


@pytest.fixture(scope="module")
def question(work: Workspace) -> Question:
    """One of the task's, whose inputs go by the agents' own names."""
    return read_dataset(work.scenario, work.source, 1, 0)[0]


class TestEmbedded:
    @pytest.mark.parametrize("point", ["chosen", "normal", "front-2", "single"])
    def test_answers_are_those_of_the_runtime(
        self, server: Running, work: Workspace, question: Question, point: str
    ) -> None:
        model = "answers" if point == "chosen" else f"answers@{point}"
        inputs = {} if point == "single" else dict(question.inputs)
        asked: Any = [{"role": "user", "content": question.query}]
        chunks = list(
            server.client(timeout_s=120).chat.completions.create(
                model=model, messages=asked, stream=True, extra_body={"inputs": inputs}
            )
        )
        service = server.gateway.service("answers")
        played = service.plan.points[point]
        with open_engines(work.scenario) as opened:
            job = Job(played.pipeline, played.schedule, replace(question, inputs=inputs))
            outcome = opened.runtime.run([job])[0]
        expected = outcome.texts[played.pipeline.answer]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
        tokens = len(outcome.ids[played.pipeline.answer])
        assert tokens <= len(chunks) - 1 <= tokens + 1

    def test_the_ladder_goes_from_the_choice_to_one_model(
        self, server: Running, found: Plan
    ) -> None:
        rungs = server.gateway.service("answers").plan.ladder
        assert rungs[0].schedule == found.candidates[found.chosen].schedule
        assert [agent.name for agent in rungs[-1].pipeline] == ["aggregator"]
        costs = [
            candidate.forecast["busy_s"].mean
            for rung in rungs
            for candidate in found.candidates
            if candidate.schedule == rung.schedule and not rung.schedule.without
        ]
        assert costs == sorted(costs, reverse=True)

    def test_models_are_points_of_the_front(self, server: Running, found: Plan) -> None:
        names = [one.id for one in server.client().models.list()]
        assert names[:3] == ["answers", "answers@normal", "answers@single"]
        assert len(names) == 3 + min(len(found.front), 8)


class TestWhatIsWrong:
    def test_no_plan(self, tmp_path: Path) -> None:
        with pytest.raises(PlanError, match=r"runs/plan.json: no plan; make one with"):
            plan_of(work_of(tmp_path, None))

    def test_a_plan_of_another_scenario(self, tmp_path: Path, found: Plan) -> None:
        with pytest.raises(PlanError, match="is of 'other', not of 'answers'"):
            plan_of(work_of(tmp_path, replace(found, scenario="other")))

    def test_a_plan_of_another_pipeline(self, tmp_path: Path, found: Plan) -> None:
        pipeline = {"chain": ["first", "second"]}
        with pytest.raises(PlanError, match=r"plan.json: staircase for 'aggregator'.*plan again"):
            plan_of(work_of(tmp_path, found, pipeline=pipeline))

    def test_profiles_that_have_changed_or_are_gone_are_told(
        self, tmp_path: Path, found: Plan
    ) -> None:
        work = work_of(tmp_path, replace(found, profile_hashes={"latency": "0"}))
        [words] = stale_words(work, plan_of(work))
        assert "rests on another latency profile" in words

    @pytest.mark.parametrize(
        ("gate", "words"),
        [
            ({}, "must have shorter_than, matches or classifier"),
            ({"matches": "("}, "no regular expression"),
            ({"classifier": "gate.py"}, "must be a function"),
            ({"shorter_than": 0}, "greater than or equal to 1"),
            ({"short": 5}, "unknown key 'short'"),
        ],
    )
    def test_a_gate(self, tmp_path: Path, found: Plan, gate: Any, words: str) -> None:
        with pytest.raises(ScenarioError, match=rf"serve\.gate.*{re.escape(words)}"):
            work_of(tmp_path, found, serve={"gate": gate})

    def test_a_classifier_that_is_not_there(self, tmp_path: Path, found: Plan) -> None:
        (tmp_path / "gate.py").write_text("def one(text): return True\n")
        work = work_of(tmp_path, found, serve={"gate": {"classifier": "gate.py:other"}})
        with (
            pytest.raises(ScenarioError, match=r"serve.gate.classifier: .* no function 'other'"),
            gateway_of([work]),
        ):
            pass

    def test_two_plans_of_one_name(self, tmp_path: Path, found: Plan) -> None:
        work = work_of(tmp_path, found)
        with (
            pytest.raises(InputError, match="two plans are named 'answers'"),
            gateway_of([work] * 2),
        ):
            pass

    def test_from_python(self, tmp_path: Path) -> None:
        with pytest.raises(PlanError, match="no plan"):
            serve(planned(tmp_path, None), listening=Listening(port=1), out=tmp_path)


class TestKeysFile:
    def test_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.yaml"
        path.write_text("anna: {key: one}\nbert: {key: two, concurrency: 3}\n")
        assert load_keys(path) == {"anna": Key("one"), "bert": Key("two", 3)}

    @pytest.mark.parametrize(
        "content",
        ["anna: hush", "anna: {key: ''}", "anna: {kee: hush}", "a: {key: hush, concurrency: 0}",
         "a: {key: hush}\nb: {key: hush}", "[hush]", "{}"],
    )  # fmt: skip
    def test_what_is_none_is_told_without_a_key(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "keys.yaml"
        path.write_text(content)
        with pytest.raises(InputError, match=r"keys\.yaml") as caught:
            load_keys(path)
        assert "hush" not in str(caught.value)


class TestCommand:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["nowhere.yaml"], "no such file"),
            (["a.yaml", "b.yaml", "--out", "x"], "--out is the folder of one scenario"),
            (["a.yaml", "--tls-cert", "x"], "--tls-cert and --tls-key go together"),
            (["a.yaml", "--tls-cert", "x", "--tls-key", "y"], "x: no such file"),
        ],
    )
    def test_wrong_input_is_one_line(self, words: list[str], told: str) -> None:
        done = staircase("serve", *words)
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr

    def test_serves_until_a_signal(self, tmp_path: Path, found: Plan) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = [
            "serve",
            planned(tmp_path, found),
            "--out",
            tmp_path / "runs",
            "--port",
            port,
            "--json",
        ]
        command = [sys.executable, "-m", "planner.cli.app", *map(str, words)]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as process:
            assert process.stderr
            assert process.stdout
            assert f"serving answers at http://127.0.0.1:{port}/v1" in process.stderr.readline()
            base = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    assert httpx.get(f"{base}/ready").status_code == 200
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            body = {"model": "answers@single", "prompt": "x", "max_tokens": 2}
            assert httpx.post(f"{base}/v1/completions", json=body).status_code == 200
            process.send_signal(signal.SIGTERM)
            told, printed = process.stderr.read(), json.loads(process.stdout.read())
        assert process.returncode == 0
        assert "Traceback" not in told
        assert printed["url"] == f"{base}/v1"
        assert printed["models"][:2] == ["answers", "answers@normal"]


def test_serving_changes_no_forecast(tmp_path: Path, found: Plan) -> None:
    """So that a search goes on, and profiles stay valid, when the section changes."""
    work = work_of(tmp_path, found)
    other = work_of(tmp_path, found, serve={"concurrency": 3})
    assert work.search_name({}) == other.search_name({})
    assert other.scenario.serve.concurrency == 3


def test_the_application_is_one_for_any_server(tmp_path: Path, found: Plan) -> None:
    """Its engines are closed with it."""

    def devices() -> int:
        return sum(one.name == "device" for one in threading.enumerate())

    before = devices()
    app = application(planned(tmp_path, found), out=tmp_path / "runs")
    assert devices() > before
    with TestClient(app) as client:
        names = [one["id"] for one in client.get("/v1/models").json()["data"]]
        body = {"model": "answers@single", "prompt": "x", "max_tokens": 2}
        answer = client.post("/v1/completions", json=body).json()
    assert names[0] == "answers"
    assert answer["usage"]["completion_tokens"] == 2
    assert devices() == before
