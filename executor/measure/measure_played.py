"""Measures what reading less costs under some schedules, played for real.

What is made of it: ``profiles.quality.calibration``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from functools import partial

import numpy as np
from numpy.typing import NDArray

from executor.line_log import ItemLog
from executor.measure.measure_quality import measure_quality
from executor.replaying import replay_measured
from executor.runtime import Job, Outcome, Runtime
from executor.scoring.prompt_scorer import PromptScorer
from executor.scoring.scores import AnswerScorer
from profiles.quality.calibration import PlayedSchedule
from profiles.quality.forecast import QualityForecaster
from staircase.pipeline import Pipeline
from staircase.schedule import LAYOUTS, Layout, Schedule, constant, explicit, uniform
from staircase.workload import Question

NAN = float("nan")
InTime = Callable[[Sequence[range]], Iterable[range]]
"""Those of some blocks of requests for which there is time."""
# Every schedule is played by so many requests before the next ones are.
BLOCK = 12
INTERLEAVED: Layout = "interleave"
# Share of the longest source text that is read at once or in chunks, tokens written a step (None:
# all), layout. They span the range of loss.
PROBES: tuple[tuple[float, int | None, Layout], ...] = (
    (0.1, None, "rebuild"),
    (0.18, None, "append_rounds"),
    (0.35, None, "rebuild_query_first"),
    (0.1, 5, "append_rounds"),
    (0.25, 10, "rebuild"),
    (0.08, 12, "interleave"),
    (0.06, 3, "interleave"),
    (0.14, 7, "interleave"),
    (0.3, 6, "interleave"),
)


def probes_in(layouts: Sequence[Layout]) -> list[tuple[float, int | None, Layout]]:
    """Those of ``PROBES`` in ``layouts``.

    One of a layout that is not there has another flat one; interleaved, there is none.
    """
    flat: list[Layout] = [layout for layout in layouts if layout != INTERLEAVED]
    found: list[tuple[float, int | None, Layout]] = []
    for share, write, usual in PROBES:
        others: list[Layout] = flat if usual != INTERLEAVED else []
        choice: list[Layout] = [usual] if usual in layouts else others
        if choice:
            found.append((share, write, choice[len(found) % len(choice)]))
    return found


def probe_schedules(
    pipeline: Pipeline, longest: int, layouts: Sequence[Layout] = LAYOUTS
) -> dict[str, Schedule]:
    """Schedules over the range of loss, in ``layouts``; ``longest``: source text in tokens."""
    found = {}
    for share, write, layout in probes_in(layouts):
        chunk = max(1, round(share * longest))
        steps = constant(chunk, chunk, write) if write else explicit([(chunk, None)])
        words = f"constant:{chunk},{chunk},{write}" if write else f"read {chunk}"
        found[f"{words}, {layout}"] = uniform(pipeline, steps, layout)
    return found


@dataclass(frozen=True)
class PlayedFigures:
    """Of one request: the fields of ``PlayedSchedule``; without a reference the score is NaN."""

    loss: float
    agreement: float
    forecast_loss: float
    forecast_agreement: float
    rounds_loss: float
    rounds_disagreement: float
    score: float


@dataclass(frozen=True)
class ScheduleProbe:
    """What it takes to play requests again and to judge what comes.

    Attributes:
        runtime: of the engines, by which ``outcomes`` were played.
        scorers: by name, of the agents who read others.
        forecaster: of the profile as it is before any calibration.
        layouts: those that the profile knows.
        concurrency: how many requests are played at once.
    """

    pipeline: Pipeline
    runtime: Runtime
    scorers: Mapping[str, PromptScorer]
    answer_scorer: AnswerScorer
    forecaster: QualityForecaster
    layouts: Sequence[Layout] = LAYOUTS
    concurrency: int = 1

    def measure(
        self,
        questions: Sequence[Question],
        outcomes: Sequence[Outcome],
        kept: ItemLog[PlayedFigures],
        on_done: Callable[[], None] = lambda: None,
        in_time: InTime = iter,
    ) -> tuple[PlayedSchedule, ...]:
        """Plays ``questions``, whose fully read ``outcomes`` are known, under some schedules.

        Both are those of the profile's first samples. Nothing where nobody reads. What is
        ``kept`` is not played again, and of blocks of requests only those that are ``in_time``.

        Raises:
            EngineError: a request failed.
        """
        sources = {name for agent in self.pipeline.readers for name in agent.reads}
        if not sources:
            return ()
        longest = max(len(outcome.ids[name]) for outcome in outcomes for name in sources)
        schedules = probe_schedules(self.pipeline, longest, self.layouts)
        found = defaultdict[str, list[PlayedFigures]](list)
        for block in in_time(_blocks(len(questions))):
            for number in block:
                full = partial(self._in_full, number, questions[number], outcomes[number])
                found["normal"].append(kept.item(f"normal {number}", full))
            cells = [(name, schedules[name], n) for name in schedules for n in block]
            figures = self._of_cells(cells, questions, outcomes, kept, on_done)
            for (name, *_), one in zip(cells, figures, strict=True):
                found[name].append(one)
        layouts: dict[str, Layout | None] = {"normal": None}
        layouts |= {name: schedule.layout for name, schedule in schedules.items()}
        return _table(found, layouts)

    def _in_full(self, number: int, question: Question, full: Outcome) -> PlayedFigures:
        return self._figures(number, Job(self.pipeline, Schedule(), question), full, full)

    def _of_cells(
        self,
        cells: Sequence[tuple[str, Schedule, int]],
        questions: Sequence[Question],
        outcomes: Sequence[Outcome],
        kept: ItemLog[PlayedFigures],
        on_done: Callable[[], None],
    ) -> list[PlayedFigures]:
        return replay_measured(
            self.runtime,
            self.pipeline,
            cells,
            questions,
            outcomes,
            kept,
            lambda job, number, outcome: self._figures(number, job, outcome, outcomes[number]),
            on_done,
            concurrency=self.concurrency,
        )

    def _figures(self, number: int, job: Job, outcome: Outcome, full: Outcome) -> PlayedFigures:
        layout = job.schedule.layout
        quality = measure_quality(job.pipeline, self.scorers, outcome, full, layout)
        forecast = self.forecaster.of_sample(number, outcome.timeline, layout)
        score = self.answer_scorer(job.question, outcome.texts[job.pipeline.answer])
        return PlayedFigures(
            quality.loss,
            quality.agreement,
            forecast.loss,
            forecast.agreement,
            forecast.rounds_loss,
            forecast.rounds_disagreement,
            NAN if score is None else score,
        )


def _blocks(requests: int) -> list[range]:
    return [range(first, min(first + BLOCK, requests)) for first in range(0, requests, BLOCK)]


def _table(
    found: Mapping[str, Sequence[PlayedFigures]], layouts: Mapping[str, Layout | None]
) -> tuple[PlayedSchedule, ...]:
    """Over the requests that have all figures under every schedule; empty answers have no loss."""
    names = [field.name for field in fields(PlayedFigures)]
    table = np.array([[astuple(one) for one in some] for some in found.values()])
    if np.isnan(table[..., -1]).all():
        names, table = names[:-1], table[..., :-1]
    known = ~np.isnan(table).any(axis=(0, 2))
    if known.sum() < 2:
        return ()
    return tuple(
        PlayedSchedule(name, layouts[name], **_columns(names, rows[known]))
        for name, rows in zip(found, table, strict=True)
    )


def _columns(names: Sequence[str], rows: NDArray[np.float64]) -> dict[str, tuple[float, ...]]:
    return {
        name: tuple(column.round(4).tolist()) for name, column in zip(names, rows.T, strict=True)
    }
