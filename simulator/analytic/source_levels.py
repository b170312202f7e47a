"""The sources of a reading agent, as seen from how far they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from simulator.analytic.alone import AloneEngine
from simulator.des.batching import BatchingSetup
from staircase.errors import WorkloadError
from staircase.pipeline import Agent
from staircase.prompt import header, label, nonce, own, query
from staircase.schedule import Layout
from staircase.workload import RequestShape

# An int64 array.
Ints = Any


class SourceLevels(NamedTuple):
    """The sources together, by level: the tokens of each of them that their reader reads.

    Levels run from 0 to one more than the longest source has tokens, where everything is read.

    Attributes:
        prompt_tokens: of all their prompts.
        ready_ps: [candidates, levels], one row if it is the same for all: every source has so many
            tokens, or has ended.
        read_tokens: what the reader is shown.
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
        return int(self.ready_ps.shape[1]) - 1

    def ready(self, rows: Ints, levels: Ints) -> Ints:
        """When the candidates ``rows`` may read up to ``levels``."""
        return self.ready_ps[rows if len(self.ready_ps) > 1 else 0, levels]


def source_levels(
    reader: Agent,
    sources: Sequence[Agent],
    there_ps: Sequence[Ints],
    layout: Layout,
    request: RequestShape,
) -> SourceLevels:
    """``there_ps`` as ``source_ps`` has it, of each of the reader's ``sources``."""
    counts = [min(request.output_tokens[agent.name], agent.max_tokens) for agent in sources]
    goals = np.asarray(counts, dtype=np.int64)[:, None]
    names = [label(reader.name, agent.name) for agent in sources]
    labels = np.asarray([[request.fixed_tokens.get(name, 0)] for name in names], dtype=np.int64)
    levels = np.arange(max(counts) + 2)
    ready = there_ps[0][:, np.minimum(levels, counts[0] + 1)]
    for own_ps, count in zip(there_ps[1:], counts[1:], strict=True):
        ready = np.maximum(ready, own_ps[:, np.minimum(levels, count + 1)])
    is_rebuilt = layout in ("rebuild", "rebuild_query_first")
    return SourceLevels(
        sum(fixed_tokens(request, agent) for agent in sources),
        ready,
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


def source_ps(agent: Agent, setup: BatchingSetup, request: RequestShape) -> Ints:
    """[1, tokens + 2]: when a source that reads nobody has 0, 1, … tokens, and has ended.

    Raises:
        WorkloadError: it does not fit into its engine's KV.
    """
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
    levels = np.arange(goal + 2)
    place = np.where(levels > goal, outputs, np.maximum(levels, 1)) - 1
    begun_ps = setup.call_ps + engine.prefill_ps[prompt] - engine.decode_ps[prompt]
    return np.where(levels == 0, 0, begun_ps + engine.decode_ps[prompt + place])[None]


def fixed_tokens(request: RequestShape, agent: Agent) -> int:
    """Tokens that are in every prompt of an agent."""
    names = (header(agent.name), nonce(agent.name), query(agent.name), own(agent.name))
    return sum(request.fixed_tokens.get(name, 0) for name in names)
