"""Measures the quality of a schedule that was executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from executor.measure.forced_reading import ForcedReading
from executor.measure.whole_drafts import with_whole_drafts
from executor.runtime import Outcome
from executor.scoring.prompt_scorer import PromptScorer
from staircase.pipeline import Pipeline
from staircase.prompt import Segment
from staircase.schedule import Layout
from staircase.timeline import last_readings

NAN = float("nan")


@dataclass(frozen=True)
class MeasuredQuality:
    """What was executed beside full reading (``executor.scorer``).

    Of one agent's text means over its tokens. Of several agents' texts losses and gaps add up and
    agreements multiply, as in forecasts.
    """

    loss: float
    agreement: float
    nll_gap: float

    @staticmethod
    def of_all(found: list[MeasuredQuality]) -> MeasuredQuality:
        return MeasuredQuality(
            sum(one.loss for one in found),
            prod(one.agreement for one in found),
            sum(one.nll_gap for one in found),
        )


UNKNOWN = MeasuredQuality(NAN, NAN, NAN)
READ_IN_FULL = MeasuredQuality(0.0, 1.0, 0.0)


def measure_quality(
    pipeline: Pipeline,
    scorers: Mapping[str, PromptScorer],
    outcome: Outcome,
    full: Outcome,
    layout: Layout,
) -> MeasuredQuality:
    """Compares each distribution from which a text was written with the fully read one.

    Of the answer, and of all who read others before it. Nothing of an answer without tokens.

    Args:
        scorers: of these agents, by name.
        full: a fully read run of the same question, which tells what drafts that ``outcome``
            left unfinished would have said.
    """
    outcome = with_whole_drafts(pipeline, outcome, full)
    if not outcome.timeline.written[pipeline.answer]:
        return UNKNOWN
    written = [name for name in scorers if outcome.timeline.written[name]]
    return MeasuredQuality.of_all(
        [_of_agent(pipeline, name, scorers[name], outcome, layout) for name in written]
    )


def _of_agent(
    pipeline: Pipeline, name: str, asked: PromptScorer, outcome: Outcome, layout: Layout
) -> MeasuredQuality:
    forced = ForcedReading(pipeline[name], asked, outcome.ids)
    prompts = {call.number: call.prompt.standing(outcome.pieces) for call in outcome.calls}
    spans = [span for span in outcome.timeline.spans if span.agent == name]
    pieces = [
        (prompts[span.call].without_end(span.kept_tokens), Segment(name, start, stop))
        for span, start, stop in last_readings(spans, outcome.timeline.written[name])
    ]
    seen = [prompt.extended(piece) for prompt, piece in pieces]
    whole = forced.prompt(layout, forced.flat(None))
    if all(prompt == whole for prompt in seen):
        return READ_IN_FULL
    # Of each step only what was written in it.
    scored = forced.score(
        [whole, *seen],
        [forced.text_tokens, *(piece.tokens for _, piece in pieces)],
    )
    reference = next(scored)
    found = [
        reference.rows(piece.start, piece.stop).against(less)
        for (_, piece), less in zip(pieces, scored, strict=True)
    ]
    means = (
        float(np.concatenate([getattr(one, key) for one in found]).mean())
        for key in ("loss", "agreement", "nll_gap")
    )
    return MeasuredQuality(*means)
