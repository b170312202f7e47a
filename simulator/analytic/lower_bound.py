"""Calls without anybody in their way: what no schedule on these engines can be faster than.

Every agent gets an engine for itself, of the same cost and on a device of its own, and requests are
played one after the other; so no call queues and none shares an iteration. What is left of TTFT is
the longest way through the pipeline: prefill and decode of what the schedule reads first, the
answer's own prefill, and what a call costs before it reaches its engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from simulator.des.batching import BatchingSetup
from simulator.des.endpoint import EndpointSetup
from simulator.des.serial import SerialSetup
from simulator.engine import EngineSetup
from simulator.run import run_workload
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.timeline import Timeline, to_ps
from staircase.workload import Workload


@dataclass(frozen=True)
class Stage:
    """What a schedule is played on."""

    pipeline: Pipeline
    setups: Mapping[str, EngineSetup]
    workload: Workload

    @property
    def call_ps(self) -> dict[str, int]:
        """By engine, what passes before a call reaches it."""
        return {name: _call_ps(setup) for name, setup in self.setups.items()}

    def play(self, schedule: Schedule) -> Sequence[Timeline]:
        run = run_workload(
            self.pipeline, schedule, self.setups, self.workload, needs_timelines=True
        )
        return run.timelines

    def without_queues(self) -> Stage:
        """The same requests, none in another's way."""
        agents = tuple(replace(agent, engine=agent.name) for agent in self.pipeline)
        return Stage(
            Pipeline(agents, self.pipeline.answer),
            {
                agent.name: _alone(self.setups[agent.engine], agent.name)
                for agent in self.pipeline
                if agent.has_engine
            },
            Workload(self.workload.requests),
        )


def _call_ps(setup: EngineSetup) -> int:
    if isinstance(setup, BatchingSetup):
        return setup.call_ps
    return to_ps(setup.profile.call_s) if isinstance(setup, SerialSetup) else 0


def _alone(setup: EngineSetup, agent: str) -> EngineSetup:
    if isinstance(setup, BatchingSetup):
        return replace(setup, device=None)
    if isinstance(setup, SerialSetup):
        return replace(setup, device=f"device of {agent}")
    if isinstance(setup, EndpointSetup):
        return replace(setup, requests_per_min=None, tokens_per_min=None)
    return setup
