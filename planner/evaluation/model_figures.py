"""What models say of the answers of a validation: quality beside full reading, and likelihood.

It takes as long as playing, so each figure is kept as soon as it is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from executor.line_log import ItemLog
from executor.measure.measure_quality import MeasuredQuality, measure_quality
from executor.measure.whole_drafts import with_whole_drafts
from executor.opened_engines import OpenedEngines
from executor.runtime import Outcome
from executor.scorer import ForcedText
from executor.scoring.likelihood import OtherReader
from planner.progress import Track
from planner.results.recorded_runs import AskedRun
from planner.results.validation import LeftOut
from planner.results.validation_log import ValidationLog
from profiles.store import content_hash, hash_of
from staircase.metrics.request_metrics import Summary, summarize
from staircase.pipeline import Pipeline
from staircase.schedule import Layout


@dataclass(frozen=True)
class ReadRun:
    """A question under a schedule, and what came of it when everything was read.

    Attributes:
        question: its number.
    """

    question: int
    layout: Layout
    asked: AskedRun
    full: Outcome

    @property
    def outcome(self) -> Outcome:
        return self.asked.outcome

    @property
    def name(self) -> str:
        """Of all that its quality depends on."""
        outcomes = [hash_of(one, Outcome) for one in (self.outcome, self.full)]
        return content_hash([*outcomes, self.layout])


@dataclass(frozen=True)
class ModelFigures:
    """Of one answer.

    Attributes:
        quality: None where its writer's model cannot be asked.
        log_likelihood: None where no other model is asked, or for ``why_not``, in words.
    """

    quality: MeasuredQuality | None = None
    log_likelihood: float | None = None
    why_not: str | None = None


def model_figures(
    opened: OpenedEngines,
    pipeline: Pipeline,
    runs: Sequence[ReadRun],
    kept: ValidationLog | None,
    track: Track,
) -> list[ModelFigures]:
    """One for each run, in order.

    Raises:
        EngineError: a server could not score a text.
    """
    qualities: list[MeasuredQuality | None] = [None] * len(runs)
    if opened.can_score(pipeline):
        step = track("quality of what was written", len(runs))
        qualities = [_quality(opened, pipeline, run, kept, step) for run in runs]
    reader = opened.other_reader
    if reader is None:
        return [ModelFigures(quality) for quality in qualities]
    likelihoods = _likelihoods(reader, pipeline, runs, kept.likelihood if kept else None, track)
    return [
        ModelFigures(quality, *likelihood)
        for quality, likelihood in zip(qualities, likelihoods, strict=True)
    ]


def _quality(
    opened: OpenedEngines,
    pipeline: Pipeline,
    run: ReadRun,
    kept: ValidationLog | None,
    on_done: Callable[[], None],
) -> MeasuredQuality:
    scorers = opened.scorers_of(pipeline)
    measure = partial(measure_quality, pipeline, scorers, run.outcome, run.full, run.layout)
    found = measure() if kept is None else kept.quality.item(run.name, measure)
    on_done()
    return found


def _likelihoods(
    reader: OtherReader,
    pipeline: Pipeline,
    runs: Sequence[ReadRun],
    kept: ItemLog[float] | None,
    track: Track,
) -> list[tuple[float | None, str | None]]:
    """With the reason where there is none. What is ``kept`` is not asked again."""
    whole = [with_whole_drafts(pipeline, run.outcome, run.full) for run in runs]
    questions = [run.asked.question for run in runs]
    texts = [reader.text(pipeline, *pair) for pair in zip(questions, whole, strict=True)]
    names = [content_hash([list(text.ids), len(text.positions)]) for text in texts]
    reasons = [reader.why_not(text) for text in texts]
    asked = {
        names[number]: texts[number]
        # Those of one question have their prompt in common, which is read once.
        for number in sorted(range(len(runs)), key=lambda number: runs[number].question)
        if reasons[number] is None
    }
    known = _log_likelihoods(reader, asked, kept, track("likelihood of the answers", len(asked)))
    return [(known.get(name), why) for name, why in zip(names, reasons, strict=True)]


def _log_likelihoods(
    reader: OtherReader,
    asked: Mapping[str, ForcedText],
    kept: ItemLog[float] | None,
    on_done: Callable[[], None],
) -> dict[str, float]:
    """By name."""
    stored = {} if kept is None else {name: kept.get(name) for name in asked}
    found = {name: value for name, value in stored.items() if value is not None}
    for _ in found:
        on_done()
    rest = [name for name in asked if name not in found]
    values = reader.log_likelihoods([asked[name] for name in rest])
    for name, value in zip(rest, values, strict=True):
        found[name] = value
        if kept is not None:
            kept.add(name, value)
        on_done()
    return found


def quality_figures(found: Sequence[ModelFigures]) -> dict[str, Summary]:
    """Nothing where it is not known."""
    known = [one.quality for one in found if one.quality is not None]
    names = ("loss", "agreement", "nll_gap") if known else ()
    return {name: summarize([getattr(one, name) for one in known]) for name in names}


def likelihood_figures(
    found: Sequence[ModelFigures], normal: Sequence[ModelFigures]
) -> dict[str, Summary]:
    """Only what is known.

    Args:
        normal: of the same questions read in full, to be set beside them; empty: nothing is.
    """
    known = [one.log_likelihood for one in found if one.log_likelihood is not None]
    beyond = [
        one.log_likelihood - other.log_likelihood
        for one, other in zip(found, normal, strict=False)
        if one.log_likelihood is not None and other.log_likelihood is not None
    ]
    figures = {"log_likelihood": known, "beyond_normal": beyond}
    return {name: summarize(values) for name, values in figures.items() if values}


def left_out(found: Sequence[ModelFigures]) -> tuple[LeftOut, ...]:
    """Answers without a likelihood, once for each reason."""
    reasons = Counter(one.why_not for one in found if one.why_not is not None)
    return tuple(LeftOut(answers, why) for why, answers in reasons.items())
