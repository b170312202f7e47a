"""Schedules are played again with what agents wrote who read nobody."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from executor.engine import CallReport, EngineCall, Key, Listener
from executor.inprocess.device import Device
from executor.inprocess.running_call import turn_away
from executor.replay_engine import ReplayEngine
from executor.replaying import replaying
from executor.runtime import Job, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from staircase import Agent, Pipeline, Question, Schedule
from tests.support.scripted_engine import ScriptedEngine


class CallRecorder:
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.reasons: list[str] = []
        self.ended = threading.Event()

    def on_token(self, key: Key, token: int, time_ns: int) -> None:
        self.tokens.append(token)

    def on_end(self, key: Key, report: CallReport) -> None:
        self.reasons.append(report.reason)
        self.ended.set()


@pytest.mark.parametrize(
    ("max_tokens", "own", "tokens", "reason"),
    [(9, 0, [5, 6, 7], "stop"), (3, 0, [5, 6, 7], "length"), (2, 1, [6, 7], "length")],
)
def test_a_replay_recites(max_tokens: int, own: int, tokens: list[int], reason: str) -> None:
    recorder, cancelled, device = CallRecorder(), CallRecorder(), Device()
    engine = ReplayEngine(device, ScriptedEngine(1), [[], [5, 6, 7]])
    engine.submit(EngineCall((1, 8), [1], 9), cancelled)
    engine.cancel((1, 8))
    engine.submit(EngineCall((1, 0), [1], max_tokens, own_tokens=own), recorder)
    with device:
        assert cancelled.ended.wait(10)
        assert recorder.ended.wait(10)
    assert (recorder.tokens, recorder.reasons) == (tokens, [reason])
    assert (cancelled.tokens, cancelled.reasons) == ([], ["cancelled"])


def test_a_replay_forgets_calls_that_have_ended() -> None:
    """Nothing happens to one that is cancelled then, nor to a later one of its name."""
    call, found = EngineCall((0, 0), [1], 9), list[CallRecorder]()
    with Device() as device:
        engine = ReplayEngine(device, ScriptedEngine(1), [[5, 6]])
        for _ in range(2):
            found.append(CallRecorder())
            engine.submit(call, found[-1])
            assert found[-1].ended.wait(10)
            engine.cancel(call.key)
    assert [(one.tokens, one.reasons) for one in found] == [([5, 6], ["stop"])] * 2


class FailsOnce(ScriptedEngine):
    failed = False

    def submit(self, call: EngineCall, listener: Listener) -> None:
        if self.failed:
            super().submit(call, listener)
        else:
            self.failed = True
            threading.Thread(target=turn_away, args=(call, listener, "broken")).start()


@pytest.mark.parametrize("retries", [0, 1])
def test_schedules_are_played_as_the_first_requests_were(retries: int) -> None:
    """With the retries and the clock of the scenario's runtime, which stands for its engines."""
    agents = Agent("a", "one"), Agent("b", "one", ("a",))
    pipeline, ahead_ns = Pipeline(agents, "b"), 10**15
    job = Job(pipeline, Schedule(), Question("why"))

    def clock() -> int:
        return time.perf_counter_ns() + ahead_ns

    engine = FailsOnce(4)
    runtime = Runtime({"one": ServedModel(engine, PromptFormat())}, retries=retries)
    engine.failed = True
    (full,) = runtime.run([job])
    runtime.now_ns, engine.failed = clock, False
    with replaying(runtime, pipeline, [full]) as (recited, again):
        (outcome,) = again.run([replace(job, pipeline=recited)])
    assert bool(outcome.timeline.error) == (not retries)
    assert again.now_ns is clock
    source = next(span for span in outcome.timeline.spans if span.agent == "a")
    assert 0 <= source.started_ps < 10**15
