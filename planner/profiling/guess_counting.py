"""In what passes the texts of a scenario's agents are written where they are guessed."""

from __future__ import annotations

from executor.inprocess.opening import lookup_of
from executor.measure.guessed_passes import PassCounter
from executor.opened_engines import OpenedEngines
from planner.profiling.lookups import lookup_specs
from staircase.spec.scenario import Scenario


def pass_counter(scenario: Scenario, opened: OpenedEngines) -> PassCounter:
    """Of the engines of ``scenario``, which are ``opened``."""
    pipeline, specs = scenario.pipeline.build(), lookup_specs(scenario)
    return PassCounter(
        {agent.name: opened.runtime.served[agent.engine].engine for agent in pipeline},
        {agent: lookup_of(spec) for agent, spec in specs.items()},
        {agent: opened.models[pipeline[agent].engine].vocabulary_size for agent in specs},
    )
