"""Requests played again with the drafts of before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from executor.inprocess.device import Device
from executor.replay_engine import ReplayEngine
from executor.runtime import Outcome, Runtime, ServedModel
from staircase.pipeline import Pipeline


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
            agents.append(replace(agent, engine=name))
        yield Pipeline(tuple(agents), pipeline.answer), runtime.serving(served)
