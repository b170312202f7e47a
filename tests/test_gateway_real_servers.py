"""The gateway before real servers and a real model: one proposer's server is killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from executor.gateway.served_plan import CHOSEN, Point, ServedPlan, ladder_of
from executor.inprocess.model_source import source_of
from executor.opened_engines import open_engines
from staircase import constant, uniform
from staircase.spec.scenario import Scenario
from tests.support.gateway_server import PLAN, Running, running
from tests.support.real_servers import SERVERS, RunningServer, serving
from tests.support.smollm2 import SMOLLM2, needs_smollm2

DRAFT, ANSWER = 96, 48


def scenario_of(safe: str, doomed: str) -> Scenario:
    engine = {"kind": "openai", "model": "SmolLM2-135M-Instruct", "tokenizer": SMOLLM2}
    return Scenario.model_validate(
        {
            "name": PLAN,
            "pipeline": {
                "moa": {"layers": [["anna", "boris"]], "answer": "editor"},
                "agents": {
                    "anna": {"max_tokens": DRAFT},
                    "boris": {"max_tokens": DRAFT},
                    "editor": {"max_tokens": ANSWER, "role": "Write the best answer."},
                },
            },
            "engines": {
                "anna": engine | {"base_url": safe},
                "boris": engine | {"base_url": doomed},
                "editor": engine | {"base_url": safe},
            },
        }
    )


@contextmanager
def served(safe: str, doomed: str) -> Iterator[Running]:
    scenario = scenario_of(safe, doomed)
    pipeline = scenario.pipeline.build()
    point = Point(CHOSEN, pipeline, uniform(pipeline, constant(16, 16, 8)))
    with open_engines(scenario) as opened:
        plan = ServedPlan(PLAN, opened.runtime, {CHOSEN: point}, ladder_of([point]))
        with running(plan) as found:
            yield found


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[RunningServer]]:
    file = source_of(SMOLLM2).file
    assert file is not None
    with ExitStack() as stack:
        folders = [tmp_path / "safe", tmp_path / "doomed"]
        for folder in folders:
            folder.mkdir()
        yield [stack.enter_context(serving(SERVERS["llama-server"], file, one)) for one in folders]


@pytest.mark.slow
@needs_smollm2
@pytest.mark.parametrize(("after", "lacks"), [(None, ["boris"]), (1, ["boris"]), (40, [])])
def test_a_killed_server_is_left_out(
    servers: list[RunningServer], after: int | None, lacks: list[str]
) -> None:
    """Before the request, or after so many tokens of the answer; drafts are whole by the last."""
    safe, doomed = servers
    with served(safe.url, doomed.url) as gateway:
        if after is None:
            doomed.process.kill()
            doomed.process.wait()
        told, tokens = ask(gateway, after, doomed)
    assert tokens > (after or 0)
    assert list(told.get("missing", [])) == lacks


def ask(gateway: Running, after: int | None, doomed: RunningServer) -> tuple[dict[str, Any], int]:
    """What the stream's end says of the answer, and how many chunks it had."""
    body = {
        "model": PLAN,
        "messages": [{"role": "user", "content": "How do I make a good cup of tea?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    count, told = 0, dict[str, Any]()
    with httpx.stream("POST", f"{gateway.url}/chat/completions", json=body, timeout=120) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                assert not line or line.startswith((":", "data: [DONE]")), line
                continue
            chunk = json.loads(line[6:])
            told = chunk.get("staircase") or told
            count += any(choice["delta"].get("content") for choice in chunk["choices"])
            if count == after and doomed.process.poll() is None:
                doomed.process.kill()
                doomed.process.wait()
    return told, count
