"""Measures quality and task score together: some schedules, played for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from executor.device import Device
from executor.measure_quality import measure_quality
from executor.replay_engine import ReplayEngine
from executor.runtime import Job, Outcome, Runtime, ServedModel
from executor.scorer import Scorer
from executor.scores import AnswerScorer
from profiles.score_fit import PlayedSchedule, ScoreFit
from staircase.errors import EngineError
from staircase.pipeline import Pipeline
from staircase.schedule import Layout, Schedule, constant, explicit, uniform
from staircase.workload import Question

# Loss, agreement, score.
Triple = tuple[float, float, float]
NAN = float("nan")
# Shares of the longest source text: schedules that read so much of each and write on; staircases
# that begin with so much and go on in such chunks.
LEVELS: tuple[tuple[float, Layout], ...] = (
    (0.1, "rebuild"),
    (0.3, "rebuild_query_first"),
    (0.5, "append_rounds"),
)
CHUNKS: tuple[tuple[float, Layout], ...] = (
    (0.1, "append_rounds"),
    (0.25, "rebuild"),
    (0.1, "interleave"),
    (0.25, "interleave"),
    (0.5, "interleave"),
)
WRITE = 8
PROBES = len(LEVELS) + len(CHUNKS)


def probe_schedules(pipeline: Pipeline, longest: int) -> dict[str, Schedule]:
    """Schedules over the range of loss, in all layouts; ``longest``: source text in tokens."""
    found = {}
    for share, layout in LEVELS:
        level = max(1, round(share * longest))
        found[f"read {level}, {layout}"] = uniform(pipeline, explicit([(level, None)]), layout)
    for share, layout in CHUNKS:
        chunk = max(1, round(share * longest))
        steps = constant(chunk, chunk, WRITE)
        found[f"constant:{chunk},{chunk},{WRITE}, {layout}"] = uniform(pipeline, steps, layout)
    return found


@dataclass(frozen=True)
class ScoreProbe:
    """What it takes to play requests again and to judge what comes.

    Attributes:
        served: by engine name.
        scorer: of the answering agent's model.
    """

    pipeline: Pipeline
    served: Mapping[str, ServedModel]
    scorer: Scorer
    answer_scorer: AnswerScorer

    def measure(
        self,
        questions: Sequence[Question],
        outcomes: Sequence[Outcome],
        on_done: Callable[[], None] = lambda: None,
    ) -> ScoreFit | None:
        """Plays ``questions``, whose fully read ``outcomes`` are known, under some schedules.

        None without two scores, and with several reading agents: forecasts add up their losses,
        of which only the answer's can be measured.

        Raises:
            EngineError: a request failed.
        """
        if len(self.pipeline.readers) != 1:
            return None
        sources = self.pipeline.readers[0].reads
        longest = max(len(outcome.ids[name]) for outcome in outcomes for name in sources)
        full = [Job(self.pipeline, Schedule(), question) for question in questions]
        layouts: dict[str, Layout | None] = {"normal": None}
        played = {"normal": self._judge(full, outcomes)}
        with self._replaying(outcomes) as (pipeline, runtime):
            for name, schedule in probe_schedules(pipeline, longest).items():
                jobs = [Job(pipeline, schedule, question) for question in questions]
                played[name] = self._judge(jobs, runtime.run(jobs, on_done=lambda _: on_done()))
                layouts[name] = schedule.layout
        return _fit(played, layouts)

    @contextmanager
    def _replaying(self, outcomes: Sequence[Outcome]) -> Iterator[tuple[Pipeline, Runtime]]:
        """The pipeline with engines that recite what agents wrote who read nobody."""
        agents, served = [], dict(self.served)
        with Device() as device:
            for agent in self.pipeline:
                if agent.reads:
                    agents.append(agent)
                    continue
                writer, name = self.served[agent.engine], f"replay {agent.name}"
                texts = [outcome.ids[agent.name] for outcome in outcomes]
                engine = ReplayEngine(device, writer.engine, texts)
                served[name] = ServedModel(engine, writer.form)
                agents.append(replace(agent, engine=name))
            yield Pipeline(tuple(agents), self.pipeline.answer), Runtime(served)

    def _judge(self, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> list[Triple]:
        check_finished(outcomes)
        return [self._triple(*both) for both in zip(jobs, outcomes, strict=True)]

    def _triple(self, job: Job, outcome: Outcome) -> Triple:
        quality = measure_quality(job.pipeline, self.scorer, outcome, job.schedule.layout)
        score = self.answer_scorer(job.question, outcome.texts[job.pipeline.answer])
        return quality.loss, quality.agreement, NAN if score is None else score


def _fit(
    played: Mapping[str, Sequence[Triple]], layouts: Mapping[str, Layout | None]
) -> ScoreFit | None:
    """Over the requests that have all figures under every schedule; empty answers have no loss."""
    table = np.array(list(played.values()))
    known = ~np.isnan(table).any(axis=(0, 2))
    if known.sum() < 2:
        return None
    return ScoreFit(
        tuple(
            PlayedSchedule(
                name,
                layouts[name],
                *(tuple(column.round(4).tolist()) for column in rows[known].T),
            )
            for name, rows in zip(played, table, strict=True)
        )
    )


def check_finished(outcomes: Sequence[Outcome]) -> None:
    """Raises EngineError if a request failed."""
    for outcome in outcomes:
        if outcome.timeline.error:
            raise EngineError(f"a request failed while it was profiled: {outcome.timeline.error}")
