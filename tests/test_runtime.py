"""The runtime: arrivals, places, and who hears of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.tokens.rendering import PromptFormat
from staircase import Question, Schedule, single
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
