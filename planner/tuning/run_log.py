"""Runs on real engines as they are kept for tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from executor.runtime import Outcome
from staircase.pipeline import Pipeline
from staircase.revisions.updates import Update
from staircase.schedule import Schedule
from staircase.timeline import Timeline
from staircase.workload import RequestShape


@dataclass(frozen=True)
class PlayedRun:
    """One question under one schedule.

    Attributes:
        turn: runs of a turn have a question each, of the same ones in all.
        fixed_tokens: of the prompt texts that do not grow.
        pace: of the machine right after it; 1 where there is no reference.
        loss: None where it cannot be measured.
        updates: how inputs came that replaced part of what they said.
    """

    round: int
    turn: int
    name: str
    question: int
    schedule: Schedule
    timeline: Timeline
    fixed_tokens: Mapping[str, int]
    pace: float
    loss: float | None
    updates: Mapping[str, tuple[Update, ...]] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """No other run of a tuning has the same."""
        return f"round {self.round}, turn {self.turn}, {self.name}"


def fixed_tokens(outcome: Outcome) -> dict[str, int]:
    """Texts that are no agent's; their names have a slash."""
    return {name: len(ids) for name, ids in outcome.ids.items() if name not in outcome.texts}


def shapes(pipeline: Pipeline, runs: Sequence[PlayedRun]) -> list[RequestShape]:
    """Of each run, the request as lengths.

    What an agent would have written is not seen where its call was cancelled; then it is the most
    that it wrote for the same question under any schedule.
    """
    written = _lengths(pipeline, runs, lambda line: line.written)
    thinking = _lengths(pipeline, runs, lambda line: line.thinking_tokens)
    return [
        RequestShape(
            run.fixed_tokens,
            wrote,
            thinking_tokens=thought,
            items=run.timeline.items,
            updates=run.updates,
        )
        for run, wrote, thought in zip(runs, written, thinking, strict=True)
    ]


def _lengths(
    pipeline: Pipeline, runs: Sequence[PlayedRun], counts: Callable[[Timeline], Mapping[str, int]]
) -> list[dict[str, int]]:
    """Of each run by agent, where ``counts`` says what is seen of it."""
    longest: dict[tuple[int, int, str], int] = {}
    for run in runs:
        for agent, count in counts(run.timeline).items():
            key = run.round, run.question, agent
            longest[key] = max(count, longest.get(key, 0))
    return [
        {
            agent.name: longest.get((run.round, run.question, agent.name), 0)
            if _is_cut(run.timeline, agent.name)
            else counts(run.timeline).get(agent.name, 0)
            for agent in pipeline
        }
        for run in runs
    ]


def _is_cut(line: Timeline, agent: str) -> bool:
    own = [span for span in line.spans if span.agent == agent]
    return not own or own[-1].reason == "cancelled"
