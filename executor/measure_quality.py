"""Measures quality: the profile of a pipeline, and the loss of a schedule that was executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from executor.rendering import render
from executor.runtime import Outcome
from executor.scorer import Comparison, Distributions, ForcedText, Scorer
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
    """The executed answer beside full reading: means over its tokens (``executor.scorer``)."""

    loss: float
    agreement: float
    nll_gap: float


def profile_quality(
    pipeline: Pipeline,
    scorers: Mapping[str, Scorer],
    outcomes: Sequence[Outcome],
    read_levels: Sequence[int],
    provenance: Provenance,
    scores: Sequence[float | None],
    on_sample: Callable[[], None] = lambda: None,
) -> QualityProfile:
    """Scores the fully read ``outcomes`` again with less read: one forward pass a read level.

    Args:
        scorers: by agent name.
    """
    longest = max(len(o.ids[agent.name]) for o in outcomes for agent in pipeline.readers)
    bin_tokens = -(-longest // MOST_BINS)
    samples = []
    for outcome, score in zip(outcomes, scores, strict=True):
        surfaces = {
            agent.name: _surfaces(agent, scorers[agent.name], outcome.ids, read_levels, bin_tokens)
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
    agent: Agent, asked: Scorer, ids: Ids, read_levels: Sequence[int], bin_tokens: int
) -> dict[str, Surface]:
    """One surface a layout; layouts whose prompts are the same are scored once."""
    if not ids[agent.name]:
        nothing = Surface(((0.0,),) * (len(read_levels) + 1), ((1.0,),) * (len(read_levels) + 1))
        return dict.fromkeys(LAYOUTS, nothing)
    scorer = _Scorer(agent, asked, ids)
    done: dict[tuple[Prompt, ...], Surface] = {}
    surfaces: dict[str, Surface] = {}
    for layout in LAYOUTS:
        if layout == "interleave":
            surfaces[layout] = _interleaved(scorer, read_levels, bin_tokens)
            continue
        prompts = tuple(scorer.prompt(layout, _flat(level)) for level in [*read_levels, None])
        if prompts not in done:
            rows = scorer.compare(prompts[-1], prompts[:-1])
            done[prompts] = _binned([*rows, _same(len(ids[agent.name]))], bin_tokens)
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
    probes = [constant(first, chunk, INTERLEAVE_WRITE) for first, chunk in INTERLEAVE_PROBES]
    found = scorer.compare(full, [scorer.prompt("interleave", probe) for probe in probes])
    levels = np.array([scorer.levels(probe) for probe in probes])
    knots = [*(min(level, scorer.longest_source) for level in read_levels), scorer.longest_source]
    columns = [
        _at_levels(levels, np.array([getattr(one, name) for one in found]), knots)
        for name in ("loss", "agreement", "nll_gap")
    ]
    return _binned([Comparison(*row) for row in zip(*columns, strict=True)], bin_tokens)


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


def _same(positions: int) -> Comparison:
    """Full reading beside itself."""
    return Comparison(np.zeros(positions), np.ones(positions), np.zeros(positions))


def _binned(rows: Sequence[Comparison], bin_tokens: int) -> Surface:
    return Surface(
        bin_rows([row.loss.tolist() for row in rows], bin_tokens),
        bin_rows([row.agreement.tolist() for row in rows], bin_tokens),
    )


@dataclass(frozen=True)
class _Scorer:
    """Scores one agent's finished text as if it had been written along another staircase."""

    agent: Agent
    scorer: Scorer
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

    def compare(self, full: Prompt, less: Sequence[Prompt]) -> list[Comparison]:
        """``less`` beside ``full``, at every position; each prompt is scored once."""
        scored = self.score([full, *less])
        reference = next(scored)
        return [reference.against(other) for other in scored]

    def score(self, prompts: Sequence[Prompt]) -> Iterator[Distributions]:
        """Those from which the agent's tokens in each prompt were drawn."""
        return self.scorer.score(
            [
                ForcedText(render(prompt, self.ids), places(prompt, self.agent.name))
                for prompt in prompts
            ]
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
    pipeline: Pipeline, asked: Scorer, outcome: Outcome, layout: Layout
) -> MeasuredQuality:
    """Compares each distribution from which the answer was written with the fully read one.

    Args:
        asked: that of the answering agent.
    """
    agent = pipeline[pipeline.answer]
    scorer = _Scorer(agent, asked, outcome.ids)
    calls = {call.number: call for call in outcome.calls}
    pieces = [
        (calls[span.call], Segment(agent.name, span.written, span.written + span.output_tokens))
        for span in outcome.timeline.spans
        if span.agent == agent.name and span.output_tokens
    ]
    if not pieces:
        return MeasuredQuality(float("nan"), float("nan"), float("nan"))
    seen = [call.prompt.extended(piece) for call, piece in pieces]
    scored = scorer.score([scorer.prompt(layout, normal()), *seen])
    full = next(scored)
    found = [
        full.rows(piece.start, piece.stop).against(less.rows(-piece.tokens, None))
        for (_, piece), less in zip(pieces, scored, strict=True)
    ]
    means = (
        float(np.concatenate([getattr(one, name) for one in found]).mean())
        for name in ("loss", "agreement", "nll_gap")
    )
    return MeasuredQuality(*means)
