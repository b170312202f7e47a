"""The sources of an answer, alone on their engines, as seen from how far they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from simulator.alone import AloneEngine
from simulator.batching import BatchingSetup
from staircase.errors import WorkloadError
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import fixed_names, label
from staircase.schedule import Layout
from staircase.workload import RequestShape

# An int64 array.
Ints = Any


class SourceLevels(NamedTuple):
    """The sources together, by level: the tokens of each of them that the answer reads.

    Levels run from 0 to one more than the longest source has tokens, where everything is read.

    Attributes:
        prompt_tokens: of all their prompts.
        ready_ps: every source has so many tokens, or has ended.
        read_tokens: what the answer is shown.
        new_labels: tokens of the labels of a round that adds to this level.
        kept_tokens: of the sources' texts rebuilt beyond this level: what stays where it was.
    """

    prompt_tokens: int
    ready_ps: Ints
    read_tokens: Ints
    new_labels: Ints
    kept_tokens: Ints

    @property
    def all_read(self) -> int:
        return len(self.ready_ps) - 1


def source_levels(
    pipeline: Pipeline,
    layout: Layout,
    setups: Mapping[str, BatchingSetup],
    request: RequestShape,
) -> SourceLevels:
    """The sources of the pipeline's answer.

    Raises:
        WorkloadError: one does not fit into its engine's KV.
    """
    reader = pipeline[pipeline.answer]
    agents = [pipeline[name] for name in reader.reads]
    counts = [min(request.output_tokens[agent.name], agent.max_tokens) for agent in agents]
    goals = np.asarray(counts, dtype=np.int64)[:, None]
    names = [label(reader.name, agent.name) for agent in agents]
    labels = np.asarray([[request.fixed_tokens.get(name, 0)] for name in names], dtype=np.int64)
    levels = np.arange(max(counts) + 2)
    ready = [_ready_ps(agent, setups[agent.engine], request, levels) for agent in agents]
    is_rebuilt = layout in ("rebuild", "rebuild_query_first")
    return SourceLevels(
        sum(fixed_tokens(request, agent) for agent in agents),
        np.max(ready, axis=0),
        np.sum(np.minimum(goals, levels), axis=0),
        # Texts that are rebuilt have their labels once, from the first round that shows any.
        np.sum(labels * (goals > levels) * ((levels == 0) | (not is_rebuilt)), axis=0),
        _kept_tokens(goals, labels, levels),
    )


def _kept_tokens(goals: Ints, labels: Ints, levels: Ints) -> Ints:
    """Up to the first source that grows, and what was shown of it."""
    shown = np.minimum(goals, levels)
    texts = np.cumsum(np.where(shown > 0, labels + shown, 0), axis=0)
    return texts[np.argmax(goals > levels, axis=0), levels]


def _ready_ps(agent: Agent, setup: BatchingSetup, request: RequestShape, levels: Ints) -> Ints:
    """When a source has so many tokens, or has ended."""
    prompt, left = fixed_tokens(request, agent), request.output_tokens[agent.name]
    goal = min(left, agent.max_tokens)
    ends_apart = left < agent.max_tokens and (request.ends_with == "stop" or goal == 0)
    outputs = goal + int(ends_apart)
    engine = AloneEngine.open(setup, prompt + outputs)
    if engine.kv_tokens is not None and prompt + goal > engine.kv_tokens:
        raise WorkloadError(
            f"a call of {agent.name!r} needs KV for {prompt + goal} tokens, "
            f"a replica has room for {engine.kv_tokens}"
        )
    place = np.where(levels > goal, outputs, np.maximum(levels, 1)) - 1
    begun_ps = setup.call_ps + engine.prefill_ps[prompt] - engine.decode_ps[prompt]
    return np.where(levels == 0, 0, begun_ps + engine.decode_ps[prompt + place])


def fixed_tokens(request: RequestShape, agent: Agent) -> int:
    """Tokens that are in every prompt of an agent."""
    return sum(request.fixed_tokens.get(name, 0) for name in fixed_names(agent.name, ()))
