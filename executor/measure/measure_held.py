"""Measures how far a draft holds (``profiles.quality.held``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from executor.kept_runs import play_measured
from executor.line_log import ItemLog
from executor.measure.forced_reading import ForcedReading
from executor.replaying import replaying
from executor.runtime import Job, Outcome, Runtime
from executor.scoring.prompt_scorer import PromptScorer
from profiles.quality.held import TIE_NATS, HeldText
from staircase.pipeline import Agent, Pipeline
from staircase.schedule import Layout, Schedule
from staircase.workload import Question

# Of the tokens of each source.
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class HoldProbe:
    """What it takes to let the answering agent write after reading part of its sources.

    Attributes:
        runtime: of the engines; the answering agent's is greedy.
        scorer: of the answering agent's model.
        layout: in which it reads.
        concurrency: how many texts are written at once.
    """

    pipeline: Pipeline
    runtime: Runtime
    scorer: PromptScorer
    layout: Layout
    concurrency: int = 1

    def measure(
        self,
        questions: Sequence[Question],
        outcomes: Sequence[Outcome],
        kept: ItemLog[HeldText],
        on_done: Callable[[], None] = lambda: None,
    ) -> tuple[HeldText, ...]:
        """Of ``questions``, whose fully read ``outcomes`` are known: a text for each of ``SHARES``.

        And the fully read ones themselves. Both are those of the profile's first samples. What is
        ``kept`` is not written again.

        Raises:
            EngineError: a request failed.
        """
        numbered = enumerate(outcomes)
        whole = [kept.item(f"{n} 1", partial(self._whole, n, one)) for n, one in numbered]
        places = list(product(range(len(outcomes)), SHARES))
        names = [f"{number} {share:g}" for number, share in places]
        parts = [self._read(outcomes[number], share) for number, share in places]

        def verify(outcome: Outcome) -> HeldText:
            number, share = places[outcome.timeline.request]
            full = {name: outcomes[number].ids[name] for name in self._agent.reads}
            whole_reading = replace(outcome, ids={**outcome.ids, **full})
            return self._verified(number, share, self.layout, whole_reading)

        with replaying(self.runtime, self._alone, parts) as (pipeline, runtime):
            jobs = [Job(pipeline, Schedule(layout=self.layout), questions[n]) for n, _ in places]
            found = play_measured(
                runtime, jobs, names, kept, verify, on_done, concurrency=self.concurrency
            )
        return (*whole, *found)

    @cached_property
    def _agent(self) -> Agent:
        return self.pipeline[self.pipeline.answer]

    @cached_property
    def _alone(self) -> Pipeline:
        """The answering agent and its sources, whose texts are known whatever they read."""
        sources = (self.pipeline[name].alone() for name in self._agent.reads)
        return Pipeline((*sources, self._agent), self._agent.name)

    def _read(self, full: Outcome, share: float) -> Outcome:
        """``full`` with so much of each source as is read."""
        texts = {name: full.ids[name] for name in self._agent.reads}
        part = {name: ids[: math.ceil(share * len(ids))] for name, ids in texts.items()}
        return replace(full, ids={**full.ids, **part})

    def _whole(self, number: int, full: Outcome) -> HeldText:
        """The text that was written after reading everything, as it was played."""
        return self._verified(number, 1.0, Schedule().layout, full)

    def _verified(self, number: int, share: float, layout: Layout, outcome: Outcome) -> HeldText:
        """``outcome``'s answer beside what its agent would write after reading all texts in it."""
        behind = self._behind_best(ForcedReading(self._agent, self.scorer, outcome.ids), layout)
        missed = behind > TIE_NATS
        ties = (behind > 0) & ~missed
        return HeldText(number, share, layout, len(behind), _places(missed), _places(ties))

    def _behind_best(self, forced: ForcedReading, layout: Layout) -> NDArray[np.float64]:
        if not forced.text_tokens:
            return np.zeros(0)
        prompt = forced.prompt(layout, forced.flat(None))
        return next(forced.score([prompt])).behind_best()


def _places(is_so: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(is_so).tolist())
