"""Measures the quality of a schedule that was executed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from executor.measure.forced_reading import ForcedReading
from executor.measure.whole_drafts import with_whole_drafts
from executor.runtime import Outcome
from executor.scoring.prompt_scorer import PromptScorer
from staircase.pipeline import Pipeline
from staircase.prompt import Segment
from staircase.schedule import Layout

NAN = float("nan")


@dataclass(frozen=True)
class MeasuredQuality:
    """The executed answer beside full reading: means over its tokens (``executor.scorer``)."""

    loss: float
    agreement: float
    nll_gap: float


def measure_quality(
    pipeline: Pipeline, asked: PromptScorer, outcome: Outcome, full: Outcome, layout: Layout
) -> MeasuredQuality:
    """Compares each distribution from which the answer was written with the fully read one.

    Args:
        asked: the scorer of the answering agent.
        full: a fully read run of the same question, which tells what drafts that ``outcome``
            left unfinished would have said.
    """
    outcome = with_whole_drafts(pipeline, outcome, full)
    agent = pipeline[pipeline.answer]
    forced = ForcedReading(agent, asked, outcome.ids)
    calls = {call.number: call for call in outcome.calls}
    pieces = [
        (calls[span.call], Segment(agent.name, span.written, span.written + span.output_tokens))
        for span in outcome.timeline.spans
        if span.agent == agent.name and span.output_tokens
    ]
    if not pieces:
        return MeasuredQuality(NAN, NAN, NAN)
    seen = [call.prompt.extended(piece) for call, piece in pieces]
    scored = forced.score([forced.prompt(layout, forced.flat(None)), *seen])
    reference = next(scored)
    found = [
        reference.rows(piece.start, piece.stop).against(less.rows(-piece.tokens, None))
        for (_, piece), less in zip(pieces, scored, strict=True)
    ]
    means = (
        float(np.concatenate([getattr(one, name) for one in found]).mean())
        for name in ("loss", "agreement", "nll_gap")
    )
    return MeasuredQuality(*means)
