"""Measures quality: the profile of a pipeline, and the loss of a schedule that was executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from executor.models import LoadedModel
from executor.rendering import render
from executor.runtime import Outcome
from executor.scoring import agreement, divergence, log_probabilities
from profiles.quality import QualityProfile, QualitySample, Surface, bin_rows
from profiles.store import Provenance
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import Prompt, Round, build_prompt
from staircase.schedule import LAYOUTS, Layout

Ids = Mapping[str, Sequence[int]]
MOST_BINS = 64


@dataclass(frozen=True)
class MeasuredQuality:
    """The executed answer's mean KL (nats a token) and agreement to full reading, and its score."""

    loss: float
    agreement: float
    score: float | None


def profile_quality(
    pipeline: Pipeline,
    models: Mapping[str, LoadedModel],
    outcomes: Sequence[Outcome],
    read_levels: Sequence[int],
    provenance: Provenance,
    scores: Sequence[float | None],
    on_sample: Callable[[], None] = lambda: None,
) -> QualityProfile:
    """Scores the fully read ``outcomes`` again with less read: one forward pass a read level.

    Args:
        models: by agent name.
    """
    longest = max(len(o.ids[agent.name]) for o in outcomes for agent in pipeline.readers)
    bin_tokens = -(-longest // MOST_BINS)
    samples = []
    for outcome, score in zip(outcomes, scores, strict=True):
        surfaces = {
            agent.name: _surfaces(agent, models[agent.name], outcome.ids, read_levels, bin_tokens)
            for agent in pipeline.readers
        }
        samples.append(_sample(pipeline, outcome, surfaces, score))
        on_sample()
    sources = {agent.name: agent.reads for agent in pipeline.readers}
    return QualityProfile(tuple(read_levels), bin_tokens, sources, tuple(samples), provenance)


def _sample(
    pipeline: Pipeline,
    outcome: Outcome,
    surfaces: dict[str, dict[str, Surface]],
    score: float | None,
) -> QualitySample:
    agents = [agent.name for agent in pipeline]
    fixed = {name: len(ids) for name, ids in outcome.ids.items() if name not in agents}
    written = {name: len(outcome.ids[name]) for name in agents}
    return QualitySample(fixed, written, surfaces, score)


def _surfaces(
    agent: Agent, model: LoadedModel, ids: Ids, read_levels: Sequence[int], bin_tokens: int
) -> dict[str, Surface]:
    """One surface a layout; layouts whose prompts are the same are scored once."""
    done: dict[tuple[Prompt, ...], Surface] = {}
    surfaces: dict[str, Surface] = {}
    for layout in LAYOUTS:
        prompts = tuple(_prompt(agent, ids, level, layout) for level in [*read_levels, None])
        if prompts not in done:
            done[prompts] = _surface(agent, model, ids, prompts, bin_tokens)
        surfaces[layout] = done[prompts]
    return surfaces


def _surface(
    agent: Agent, model: LoadedModel, ids: Ids, prompts: Sequence[Prompt], bin_tokens: int
) -> Surface:
    """``prompts`` are those of the read levels, the fully read one last."""
    text = ids[agent.name]
    if not text:
        return Surface(((0.0,),) * (len(prompts) - 1), ((1.0,),) * (len(prompts) - 1))
    full = log_probabilities(model, render(prompts[-1], ids), text)
    less = [log_probabilities(model, render(prompt, ids), text) for prompt in prompts[:-1]]
    return Surface(
        bin_rows([divergence(full, one).tolist() for one in less], bin_tokens),
        bin_rows([agreement(full, one).tolist() for one in less], bin_tokens),
    )


def _prompt(agent: Agent, ids: Ids, level: int | None, layout: Layout) -> Prompt:
    """The agent's prompt with ``level`` tokens of each source (None: all), nothing written yet."""
    fixed = {name: len(tokens) for name, tokens in ids.items()}
    full = [len(ids[source]) for source in agent.reads]
    read = tuple(n if level is None else min(n, level) for n in full)
    return build_prompt(agent.name, agent.reads, [Round(read, 0)], 0, layout, fixed)


def measure_quality(
    pipeline: Pipeline,
    model: LoadedModel,
    outcome: Outcome,
    layout: Layout,
    score: float | None,
) -> MeasuredQuality:
    """Compares each distribution from which the answer was written with the fully read one.

    Args:
        model: that of the answering agent.
    """
    agent = pipeline[pipeline.answer]
    text = outcome.ids[agent.name]
    if not text:
        return MeasuredQuality(float("nan"), float("nan"), score)
    full = log_probabilities(
        model, render(_prompt(agent, outcome.ids, None, layout), outcome.ids), text
    )
    losses, agreements = [], []
    for span in outcome.timeline.spans:
        if span.agent != agent.name or not span.output_tokens:
            continue
        call = next(call for call in outcome.calls if call.number == span.call)
        piece = slice(span.written, span.written + span.output_tokens)
        less = log_probabilities(model, render(call.prompt, outcome.ids), text[piece])
        losses.append(divergence(full[piece], less))
        agreements.append(agreement(full[piece], less))
    return MeasuredQuality(
        float(np.concatenate(losses).mean()), float(np.concatenate(agreements).mean()), score
    )
