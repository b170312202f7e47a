"""Texts that are written for quality and lengths are written in batches: no clock counts there."""

from __future__ import annotations

from staircase.spec.engine_spec import EngineSpec, OpenAISpec
from staircase.spec.scenario import Scenario

# Six take a small model on a CPU a quarter more time a text, eighteen hardly less (docs/log.md).
AT_ONCE = 12


def in_batches(scenario: Scenario) -> Scenario:
    """``scenario`` with ``AT_ONCE`` slots or more for each engine here in single precision.

    There a text does not depend on what else is in the batch. Other engines stay as they are, and
    none gets more slots than tokens that it may compute at once.
    """
    batched = {
        name: spec.model_copy(
            update={"slots": max(spec.slots, min(AT_ONCE, spec.max_num_batched_tokens))}
        )
        for name, spec in scenario.real.items()
        if spec.dtype == "float32"
    }
    return scenario.model_copy(update={"engines": {**scenario.engines, **batched}})


def requests_at_once(scenario: Scenario) -> int:
    """How many requests are played at a time, so that no reading agent loses its KV cache."""
    readers = [agent.engine for agent in scenario.pipeline.build().readers]
    places = [_places(scenario.engines[name]) // readers.count(name) for name in set(readers)]
    return max(1, min([AT_ONCE, *places]))


def _places(spec: object) -> int:
    if isinstance(spec, EngineSpec):
        return spec.slots
    return spec.max_concurrency if isinstance(spec, OpenAISpec) else 1
