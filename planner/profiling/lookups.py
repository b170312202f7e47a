"""How the engines of a scenario's agents look up how texts go on."""

from __future__ import annotations

from staircase.spec.engine_spec import PromptLookupSpec
from staircase.spec.scenario import Scenario


def lookup_specs(scenario: Scenario) -> dict[str, PromptLookupSpec]:
    """By agent, of those whose engine does."""
    looking = {name: spec.prompt_lookup for name, spec in scenario.real.items()}
    found = {agent.name: looking.get(agent.engine) for agent in scenario.pipeline.build()}
    return {agent: spec for agent, spec in found.items() if spec}


def lookup_words(scenario: Scenario) -> dict[str, str]:
    """The same in words, as profiles have them."""
    return {agent: str(spec) for agent, spec in lookup_specs(scenario).items()}
