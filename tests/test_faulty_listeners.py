"""Whoever listens may fail: the caller hears of it, and the engines go on for others."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from executor.engine import CallReport, Engine, EngineCall, Key
from executor.inprocess.batching_engine import BatchingEngine
from executor.inprocess.device import Device
from executor.inprocess.prompt_lookup import PromptLookup
from executor.inprocess.transformers_engine import TransformersEngine
from executor.measure.call_recorder import begin, serve
from executor.replay_engine import ReplayEngine
from executor.runtime import Job, Outcome, Runtime, ServedModel
from staircase import constant, moa, uniform
from staircase.play import Play
from staircase.schedule import Barrier
from tests.support.backends import FORM, QUESTION, random_model
from tests.support.fake_server import FakeServer, Manners
from tests.test_cli import ROOT
from tests.test_interrupt import write_scenario
from tests.test_openai_engine import setting

LENGTH = 12
AGENTS = tuple(replace(agent, max_tokens=LENGTH) for agent in moa([["a", "b"]], "z"))
PIPELINE = replace(moa([["a", "b"]], "z"), agents=AGENTS)
SCHEDULE = uniform(PIPELINE, constant(6, 6, 6))
JOB = Job(PIPELINE, SCHEDULE, QUESTION)


@contextmanager
def serial() -> Iterator[Engine]:
    with Device() as device:
        yield TransformersEngine(random_model("llama", 1), device)


@contextmanager
def guessing() -> Iterator[Engine]:
    with Device() as device:
        yield TransformersEngine(random_model("llama", 1), device, lookup=PromptLookup(min_ngram=1))


@contextmanager
def batching() -> Iterator[Engine]:
    with Device() as device:
        yield BatchingEngine(random_model("llama", 1), device, 2)


@contextmanager
def server() -> Iterator[Engine]:
    with setting(Manners(token_s=0.0001)) as it:
        yield it.engine


@contextmanager
def replay() -> Iterator[Engine]:
    with serial() as writer, Device() as device:
        yield ReplayEngine(device, writer, [list(range(100))] * 9)


ENGINES = {one.__name__: one for one in (serial, guessing, batching, server, replay)}


class MishapError(Exception):
    pass


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with ENGINES[request.param]() as opened:
        yield opened


def runtime_of(engine: Engine) -> Runtime:
    return Runtime(dict.fromkeys("abz", ServedModel(engine, FORM)))


@pytest.mark.parametrize(("agent", "count"), [("a", 1), ("z", 7), ("z", LENGTH)])
def test_what_on_token_raises_reaches_the_caller(engine: Engine, agent: str, count: int) -> None:
    """Of three requests one fails; nothing of the others runs on, and the next run is whole."""

    def on_token(job: int, name: str, ids: Sequence[int]) -> None:
        if (job, name, len(ids)) == (1, agent, count):
            raise MishapError

    runtime = runtime_of(engine)
    with pytest.raises(MishapError):
        runtime.run([JOB] * 4, concurrency=3, on_token=on_token)
    outcome = runtime.run([JOB])[0]
    assert outcome.timeline.error is None
    assert len(outcome.ids["z"]) == LENGTH


def test_what_on_done_raises_reaches_the_caller(engine: Engine) -> None:
    def on_done(outcome: Outcome) -> None:
        raise MishapError

    with pytest.raises(MishapError):
        runtime_of(engine).run([JOB] * 2, on_done=on_done)


def test_what_a_timer_raises_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_timer(*_: object) -> None:
        raise MishapError

    monkeypatch.setattr(Play, "on_timer", on_timer)
    waiting = replace(SCHEDULE, barrier=Barrier("grace", 1, 0.001))
    with serial() as engine, pytest.raises(MishapError):
        runtime_of(engine).run([replace(JOB, schedule=waiting)] * 30)


@dataclass
class Faulty:
    """Fails at its ``at``-th token, or at its end."""

    at: int | None
    reports: list[CallReport] = field(default_factory=list)
    tokens: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self.tokens += 1
        if self.tokens == self.at:
            raise MishapError("so it is")

    def on_end(self, key: Key, report: CallReport) -> None:
        self.reports.append(report)
        self.done.set()
        if self.at is None:
            raise MishapError


@pytest.mark.parametrize("at", [1, 3])
def test_a_listener_that_fails_is_told_at_the_end(engine: Engine, at: int) -> None:
    """It hears no more tokens, and others get all of theirs."""
    faulty = Faulty(at)
    call = EngineCall((1, 0), engine.encode("why"), 8, ignore_end=True)
    other = begin(engine, [engine.encode("why")], 8) if engine.vocabulary != "llama" else None
    engine.submit(call, faulty)
    assert faulty.done.wait(30)
    assert faulty.tokens == at
    assert [report.error for report in faulty.reports] == ["MishapError: so it is"]
    if other:
        other.wait()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("make", [serial, batching, server])
def test_a_fault_at_the_end_stops_nobody(make: Any) -> None:
    with make() as engine:
        faulty = Faulty(None)
        engine.submit(EngineCall((1, 0), engine.encode("why"), 3, ignore_end=True), faulty)
        assert faulty.done.wait(30)
        assert len(serve(engine, [engine.encode("why")], 3).tokens[0]) == 3


@pytest.mark.parametrize("make", [serial, batching])
@pytest.mark.parametrize("prompt", [None, [], [1, "x"], [10**9], [-(10**9)]])
def test_a_prompt_that_is_none_ends_its_call(make: Any, prompt: list[int]) -> None:
    """Also what fails before there is a pass: the next call is served."""
    with make() as engine:
        with pytest.raises(RuntimeError):
            serve(engine, [prompt], 3)
        assert len(serve(engine, [[3, 4]], 3).tokens[0]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("read", [5, 0])
def test_a_closed_pipe_ends_a_run_quietly(tmp_path: Path, read: int) -> None:
    """As ``run … | head``: also where all of the answer is still to come."""
    with FakeServer(Manners(token_s=0.005)) as fake:
        words = [str(write_scenario(tmp_path, fake.url)), "why?", "--staircase", "constant:6,6,6"]
        running = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "planner.cli.app",
                "run",
                *words,
                "--out",
                str(tmp_path / "out"),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert running.stdout
        assert running.stderr
        running.stdout.read(read)
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait(60) == 1
