"""Measures quality: the profile of a pipeline, and the loss of a schedule that was executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from executor.models import LoadedModel
from executor.rendering import render
from executor.runtime import Outcome
from executor.scoring import agreement, divergence, log_probabilities
from profiles.quality import QualityProfile, QualitySample, Surface, bin_rows
from profiles.store import Provenance
from staircase.pipeline import Agent, Pipeline
from staircase.prompt import Prompt, Round, Segment, build_prompt
from staircase.schedule import LAYOUTS, Layout, Staircase, constant, explicit, normal

Ids = Mapping[str, Sequence[int]]
MOST_BINS = 16
# Staircases along which the interleaved layout is scored: first chunk, later chunks; one write.
INTERLEAVE_PROBES = tuple((first, chunk) for first in (4, 12, 24, 48) for chunk in (4, 12, 32))
INTERLEAVE_WRITE = 8


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
    if not ids[agent.name]:
        nothing = Surface(((0.0,),) * (len(read_levels) + 1), ((1.0,),) * (len(read_levels) + 1))
        return dict.fromkeys(LAYOUTS, nothing)
    scorer = _Scorer(agent, model, ids)
    done: dict[tuple[Prompt, ...], Surface] = {}
    surfaces: dict[str, Surface] = {}
    for layout in LAYOUTS:
        if layout == "interleave":
            surfaces[layout] = _interleaved(scorer, read_levels, bin_tokens)
            continue
        prompts = tuple(scorer.prompt(layout, _flat(level)) for level in [*read_levels, None])
        if prompts not in done:
            rows = [scorer.compare(prompts[-1], prompt) for prompt in prompts]
            done[prompts] = _binned(rows, bin_tokens)
        surfaces[layout] = done[prompts]
    return surfaces


def _flat(level: int | None) -> Staircase:
    """Read ``level`` tokens of each source (None: all), then write to the end."""
    return normal() if level is None else explicit([(level, None)])


def _interleaved(scorer: _Scorer, read_levels: Sequence[int], bin_tokens: int) -> Surface:
    """Interleaved, what was written before matters too: staircases are probed, not levels.

    Each probe gives D along its own staircase; at every own position the probes are points
    (tokens read, D), between which the read levels are interpolated.
    """
    full = scorer.prompt("interleave", normal())
    levels, losses, agreements = [], [], []
    for first, chunk in INTERLEAVE_PROBES:
        probe = constant(first, chunk, INTERLEAVE_WRITE)
        loss, agreement_ = scorer.compare(full, scorer.prompt("interleave", probe))
        levels.append(scorer.levels(probe))
        losses.append(loss)
        agreements.append(agreement_)
    knots = [*(min(level, scorer.longest_source) for level in read_levels), scorer.longest_source]
    loss_rows = _at_levels(np.array(levels), np.array(losses), knots)
    agreement_rows = _at_levels(np.array(levels), np.array(agreements), knots)
    return _binned(list(zip(loss_rows, agreement_rows, strict=True)), bin_tokens)


def _at_levels(
    levels: NDArray[np.int64], values: NDArray[np.float64], knots: Sequence[int]
) -> list[NDArray[np.float64]]:
    """Values at each of ``knots`` for every position, from points (level, value) of the probes.

    Arguments have the shape (probes, positions).
    """
    columns = []
    for level, value in zip(levels.T, values.T, strict=True):
        points = [(x, float(value[level == x].mean())) for x in np.unique(level)]
        columns.append(np.interp(knots, [x for x, _ in points], [y for _, y in points]))
    return list(np.array(columns).T)


Rows = Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]


def _binned(rows: Rows, bin_tokens: int) -> Surface:
    return Surface(
        bin_rows([loss.tolist() for loss, _ in rows], bin_tokens),
        bin_rows([same.tolist() for _, same in rows], bin_tokens),
    )


@dataclass(frozen=True)
class _Scorer:
    """Scores one agent's finished text as if it had been written along another staircase."""

    agent: Agent
    model: LoadedModel
    ids: Ids

    @property
    def text_tokens(self) -> int:
        return len(self.ids[self.agent.name])

    @property
    def longest_source(self) -> int:
        return max(len(self.ids[source]) for source in self.agent.reads)

    def prompt(self, layout: Layout, staircase: Staircase) -> Prompt:
        """The whole text as it stands at the end if written along ``staircase``."""
        fixed = {name: len(tokens) for name, tokens in self.ids.items()}
        rounds = self._rounds(staircase)
        return build_prompt(
            self.agent.name, self.agent.reads, rounds, self.text_tokens, layout, fixed
        )

    def _rounds(self, staircase: Staircase) -> list[Round]:
        rounds, written, number = [], 0, 0
        lengths = [len(self.ids[source]) for source in self.agent.reads]
        while True:
            step = staircase.step(number)
            read = tuple(n if step.read is None else min(n, step.read) for n in lengths)
            rounds.append(Round(read, written))
            if step.write is None or list(read) == lengths:
                return rounds
            number, written = number + 1, written + step.write
            if written >= self.text_tokens:
                return rounds

    def levels(self, staircase: Staircase) -> NDArray[np.int64]:
        """The most that was read of any source before each position."""
        levels = np.zeros(self.text_tokens, dtype=np.int64)
        for entry in self._rounds(staircase):
            levels[entry.written :] = max(entry.read)
        return levels

    def compare(
        self, full: Prompt, less: Prompt
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """KL and agreement at every position."""
        reference, other = self.log_probabilities(full), self.log_probabilities(less)
        return divergence(reference, other), agreement(reference, other)

    def log_probabilities(self, prompt: Prompt) -> torch.Tensor:
        """Those from which the agent's tokens in ``prompt`` were drawn."""
        return log_probabilities(
            self.model, render(prompt, self.ids), places(prompt, self.agent.name)
        )


def places(prompt: Prompt, source: str) -> list[int]:
    """Positions of ``source``'s tokens in the rendered prompt."""
    found: list[int] = []
    position = 0
    for segment in prompt.segments:
        if segment.source == source:
            found += range(position, position + segment.tokens)
        position += segment.tokens
    return found


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
    scorer = _Scorer(agent, model, outcome.ids)
    if not scorer.text_tokens:
        return MeasuredQuality(float("nan"), float("nan"), score)
    full = scorer.log_probabilities(scorer.prompt(layout, normal()))
    calls = {call.number: call for call in outcome.calls}
    losses, agreements = [], []
    for span in outcome.timeline.spans:
        if span.agent != agent.name or not span.output_tokens:
            continue
        piece = Segment(agent.name, span.written, span.written + span.output_tokens)
        seen = calls[span.call].prompt.extended(piece)
        less = scorer.log_probabilities(seen)[-piece.tokens :]
        losses.append(divergence(full[piece.start : piece.stop], less))
        agreements.append(agreement(full[piece.start : piece.stop], less))
    return MeasuredQuality(
        float(np.concatenate(losses).mean()), float(np.concatenate(agreements).mean()), score
    )
