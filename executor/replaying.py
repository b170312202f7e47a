"""Requests played again with the drafts of before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from executor.inprocess.device import Device
from executor.kept_runs import play_measured
from executor.line_log import ItemLog
from executor.replay_engine import ReplayEngine
from executor.runtime import Job, Outcome, Runtime, ServedModel
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.workload import Question

T = TypeVar("T")


@contextmanager
def replaying(
    runtime: Runtime, pipeline: Pipeline, outcomes: Sequence[Outcome]
) -> Iterator[tuple[Pipeline, Runtime]]:
    """``pipeline`` and ``runtime`` with engines that recite what agents wrote who read nobody.

    Args:
        outcomes: by job; a job's agents say what they said in it.
    """
    agents, served = [], dict(runtime.served)
    with Device() as device:
        for agent in pipeline:
            if agent.reads:
                agents.append(agent)
                continue
            writer, name = runtime.served[agent.engine], f"replay {agent.name}"
            texts = [outcome.ids[agent.name] for outcome in outcomes]
            engine = ReplayEngine(device, writer.engine, texts, runtime.now_ns)
            served[name] = ServedModel(engine, writer.form)
            agents.append(replace(agent, engine=name, arrival=None))
        yield Pipeline(tuple(agents), pipeline.answer), runtime.serving(served)


def replay_measured(
    runtime: Runtime,
    pipeline: Pipeline,
    cells: Sequence[tuple[str, Schedule, int]],
    questions: Sequence[Question],
    full: Sequence[Outcome],
    kept: ItemLog[T],
    measure: Callable[[Job, int, Outcome], T],
    on_done: Callable[[], None] = lambda: None,
    *,
    concurrency: int = 1,
) -> list[T]:
    """What ``measure`` makes of each of ``cells``: a schedule, with its name, of a question.

    All are played in one run, so that while some texts are written others are measured. Agents
    who read nobody recite what they wrote in ``full``, the question's fully read run.

    Args:
        kept: by "NAME NUMBER", of the schedule and of the question.
        measure: of a job, its question's number, and what came of it; called in threads.

    Raises:
        EngineError: a request failed.
        Exception: what ``measure`` or ``on_done`` raised.
    """
    with replaying(runtime, pipeline, [full[number] for *_, number in cells]) as (recited, served):
        jobs = [Job(recited, schedule, questions[number]) for _, schedule, number in cells]

        def measured(outcome: Outcome) -> T:
            place = outcome.timeline.request
            return measure(jobs[place], cells[place][-1], outcome)

        names = [f"{name} {number}" for name, _, number in cells]
        return play_measured(served, jobs, names, kept, measured, on_done, concurrency=concurrency)
