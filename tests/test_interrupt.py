"""Ctrl-C while a request is played: one line, exit code 130, and nothing left that runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from executor.engine import Engine
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.transformers_engine import TransformersEngine
from executor.openai.engine import OpenAIEngine
from executor.openai.vocabularies import TextPieces
from executor.runtime import Job, Runtime, ServedModel
from staircase import constant, moa, uniform
from tests.support.backends import FORM, QUESTION, random_model, server_settings
from tests.support.fake_server import FakeServer, Fault, Manners
from tests.test_cli import ROOT
from tests.test_openai_engine import LENGTH, POINTS, TEXT, fault_at, numbers, setting, wait_until

AGENTS = tuple(replace(agent, max_tokens=LENGTH) for agent in moa([["a", "b"]], "z"))
PIPELINE = replace(moa([["a", "b"]], "z"), agents=AGENTS)
JOB = Job(PIPELINE, uniform(PIPELINE, constant(6, 6, 6)), QUESTION)
# Which agent's which token: before the answer's first one, in its middle, and in its last step.
MOMENTS = {"before the first token": ("a", 2), "mid-chunk": ("z", 9), "in the last step": ("z", 19)}


def interrupt(served: dict[str, ServedModel], agent: str, count: int) -> None:
    """Plays three requests at once until Ctrl-C at the ``count``-th token of one's ``agent``."""

    def on_token(job: int, name: str, ids: Sequence[int]) -> None:
        if (job, name, len(ids)) == (1, agent, count):
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Runtime(served).run([JOB] * 6, concurrency=3, on_token=on_token)


@pytest.mark.parametrize("moment", MOMENTS)
class TestRuntime:
    def test_in_process_engines_are_idle(self, moment: str) -> None:
        model = random_model("llama", seed=1)
        with Device() as device:
            serial, batching = TransformersEngine(model, device), BatchingEngine(model, device, 2)
            shared: dict[str, Engine] = {"a": serial, "b": batching, "z": batching}
            served = {name: ServedModel(engine, FORM) for name, engine in shared.items()}
            interrupt(served, *MOMENTS[moment])
            assert not serial.has_work
            assert batching.is_idle

    def test_every_request_to_a_server_is_closed(self, moment: str) -> None:
        """``setting`` checks for tasks and connections."""
        with setting(Manners(token_s=0.002)) as it:
            served = {
                name: ServedModel(
                    OpenAIEngine(
                        it.network,
                        it.engine._server,
                        TEXT,
                        server_settings(name),
                        TextPieces(name),
                    ),
                    FORM,
                )
                for name in PIPELINE.engines
            }
            interrupt(served, *MOMENTS[moment])
            wait_until(lambda: it.fake.active == 0)
            assert it.fake.hung_up > 0


def write_scenario(folder: Path, url: str) -> Path:
    agents = {agent.name: {"max_tokens": LENGTH} for agent in PIPELINE}
    content = {
        "name": "interrupted",
        "pipeline": {"moa": {"layers": [["a", "b"]], "answer": "z"}, "agents": agents},
        "engines": {
            name: {"kind": "openai", "base_url": url, "model": name, "timeout_s": 600}
            for name in "abz"
        },
    }
    path = folder / "scenario.yaml"
    path.write_text(json.dumps(content))
    return path


# Of each model, by a server that can do everything.
PROBE_REQUESTS = 6


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_run_ends_with_one_line_and_code_130(tmp_path: Path, point: str) -> None:
    """The answer hangs at a point of its staircase; what was shown of it stays."""
    call, fault = fault_at(POINTS[point], Fault("hang"))
    with FakeServer() as fake:
        fake.begin({("z", PROBE_REQUESTS + call): fault})
        command = [sys.executable, "-m", "planner.cli.app", "run"]
        words = [str(write_scenario(tmp_path, fake.url)), "why?", "--staircase", "constant:6,6,6"]
        running = subprocess.Popen(
            [*command, *words, "--out", str(tmp_path / "out")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        asked_of_z = PROBE_REQUESTS + call + 1
        wait_until(lambda: sum(b["model"] == "z" for b in fake.bodies) == asked_of_z, 60)
        shown = 6 * call + fault.after
        assert running.stdout is not None
        text = numbers(1, shown)
        begun = running.stdout.read(len(text))
        wait_until(lambda: fake.active == 1)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
        wait_until(lambda: fake.active == 0 and fake.open == 0)
    assert running.returncode == 130
    assert err == "interrupted\n"
    assert begun + out.rstrip() == text
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").rglob("*.json"))
