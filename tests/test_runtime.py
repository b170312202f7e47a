"""The runtime: arrivals, places, and who hears of tokens."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import pytest

from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from staircase import (
    Pipeline,
    Question,
    Schedule,
    chain,
    constant,
    moa,
    single,
    uniform,
)
from staircase.timeline import to_s
from tests.support.scripted_engine import ScriptedEngine

TOKENS = 5


def play(
    jobs: int, concurrency: int, arrivals_s: list[float] | None = None, prefill_s: float = 0.03
) -> tuple[list[Outcome], dict[int, list[int]]]:
    heard: dict[int, list[int]] = {}

    def on_token(job: int, agent: str, ids: Sequence[int]) -> None:
        assert agent == pipeline.answer
        heard.setdefault(job, []).append(len(ids))

    pipeline = single()
    served = ServedModel(ScriptedEngine(TOKENS, prefill_s), PromptFormat())
    runtime = Runtime(dict.fromkeys(pipeline.engines, served))
    job = Job(pipeline, Schedule(), Question("why?"))
    outcomes = runtime.run([job] * jobs, concurrency, arrivals_s=arrivals_s, on_token=on_token)
    return outcomes, heard


def test_every_token_is_heard_of_in_order() -> None:
    outcomes, heard = play(3, 2)
    assert [len(outcome.timeline.answer_ps) for outcome in outcomes] == [TOKENS] * 3
    assert heard == {job: [1, 2, 3, 4, 5] for job in range(3)}


def test_jobs_begin_when_they_arrive() -> None:
    outcomes, _ = play(3, 3, [0.0, 0.1, 0.2])
    for outcome, arrival_s in zip(outcomes, [0.0, 0.1, 0.2], strict=True):
        line = outcome.timeline
        assert to_s(line.arrival_ps) == pytest.approx(arrival_s)
        assert to_s(line.answer_ps[0]) > arrival_s


def test_waiting_for_a_place_counts() -> None:
    outcomes, _ = play(3, 1, [0.0, 0.0, 0.0])
    assert [outcome.timeline.arrival_ps for outcome in outcomes] == [0, 0, 0]
    ends = [outcome.timeline.completed_ps for outcome in outcomes]
    firsts = [outcome.timeline.answer_ps[0] for outcome in outcomes]
    assert ends[0] < firsts[1]
    assert ends[1] < firsts[2]


class Started:
    """A request that was started, and what was heard of it."""

    def __init__(self, pipeline: Pipeline, engines: Mapping[str, ScriptedEngine]) -> None:
        served = {name: ServedModel(engine, PromptFormat()) for name, engine in engines.items()}
        self.heard: dict[str, int] = {}
        self.outcomes: list[Outcome] = []
        self.faults: list[Exception] = []
        self._over = threading.Event()
        job = Job(pipeline, uniform(pipeline, constant(4, 6, 5)), Question("why?"))
        self.run = Runtime(served).start(job, self._hear, self._end, self._fail)

    def _hear(self, job: int, agent: str, ids: Sequence[int]) -> None:
        self.heard[agent] = len(ids)

    def _end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._over.set()

    def _fail(self, fault: Exception) -> None:
        self.faults.append(fault)

    def wait_for(self, agent: str, tokens: int) -> None:
        while self.heard.get(agent, 0) < tokens:
            time.sleep(0.001)

    def outcome(self) -> Outcome:
        assert self._over.wait(20)
        time.sleep(0.02)
        [outcome] = self.outcomes
        assert not self.faults
        return outcome


PANEL = moa([["a", "b"]], "z")


def engines(**lengths: int) -> dict[str, ScriptedEngine]:
    return {name: ScriptedEngine(lengths.get(name, 20)) for name in ("a", "b", "z")}


class TestStarted:
    def test_is_heard_of_and_over_once(self) -> None:
        started = Started(PANEL, engines())
        outcome = started.outcome()
        assert started.heard == {"a": 20, "b": 20, "z": 20}
        assert outcome.timeline.written == started.heard
        assert not started.run.leave("z")

    @pytest.mark.parametrize("tokens", [1, 4, 5, 12])
    def test_what_a_source_has_written_is_its_text(self, tokens: int) -> None:
        started = Started(PANEL, engines(a=100_000))
        started.wait_for("a", tokens)
        assert started.run.leave("a")
        assert not started.run.leave("a")
        line = started.outcome().timeline
        assert line.error is None
        assert line.written["z"] == 20
        assert tokens <= line.written["a"] < 512
        last = [span for span in line.spans if span.agent == "z"][-1]
        # The answer's end may come before all that is there is read.
        assert last.read[0] <= line.written["a"]

    @pytest.mark.parametrize("tokens", [0, 1, 5, 9])
    def test_an_answer_that_is_left_is_over_as_it_is(self, tokens: int) -> None:
        """Also before anything could be read."""
        lengths = {"a": 100_000, "b": 100_000, "z": 100_000}
        started = Started(PANEL, engines(**lengths))
        started.wait_for("z", tokens)
        assert started.run.leave("z")
        outcome = started.outcome()
        assert outcome.timeline.error is None
        assert tokens <= len(outcome.ids["z"]) == outcome.timeline.written["z"] < 512
        assert len(outcome.timeline.spans) == len(outcome.calls)
        assert {span.reason for span in outcome.timeline.spans} <= {"cancelled", "length"}

    def test_of_layers_the_one_between_is_left(self) -> None:
        pipeline = chain(["a", "b", "z"])
        started = Started(pipeline, engines(a=100_000))
        started.wait_for("b", 3)
        assert started.run.leave("b")
        line = started.outcome().timeline
        assert line.written["z"] == 20
        assert line.written["b"] < 20

    def test_what_a_listener_raises_is_told(self) -> None:
        pipeline = single()
        served = {name: ServedModel(ScriptedEngine(5), PromptFormat()) for name in pipeline.engines}
        told: list[Exception] = []

        def fail(job: int, agent: str, ids: Sequence[int]) -> None:
            raise ValueError("enough")

        job, over = Job(pipeline, Schedule(), Question("why?")), threading.Event()
        Runtime(served).start(job, fail, lambda outcome: over.set(), told.append)
        assert over.wait(20)
        assert [str(one) for one in told][:1] == ["enough"]
