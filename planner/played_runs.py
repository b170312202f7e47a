"""Runs on real engines as they are kept for tuning, and the log in which they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from executor.runtime import Outcome
from staircase.errors import InputError
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.timeline import Timeline
from staircase.workload import RequestShape

SCHEMA = "staircase.tuning/1"


@dataclass(frozen=True)
class PlayedRun:
    """One question under one schedule.

    Attributes:
        turn: runs of a turn have a question each, of the same ones in all.
        fixed_tokens: of the prompt texts that do not grow.
        pace: of the machine right after it; 1 where there is no reference.
        loss: None where it cannot be measured.
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


def fixed_tokens(outcome: Outcome) -> dict[str, int]:
    """Texts that are no agent's; their names have a slash."""
    return {name: len(ids) for name, ids in outcome.ids.items() if name not in outcome.texts}


def shapes(pipeline: Pipeline, runs: Sequence[PlayedRun]) -> list[RequestShape]:
    """Of each run, the request as lengths.

    What an agent would have written is not seen where its call was cancelled; then it is the most
    that it wrote for the same question under any schedule.
    """
    longest: dict[tuple[int, int, str], int] = {}
    for run in runs:
        for agent, count in run.timeline.written.items():
            key = run.round, run.question, agent
            longest[key] = max(count, longest.get(key, 0))
    return [
        RequestShape(
            run.fixed_tokens,
            {
                agent.name: longest[run.round, run.question, agent.name]
                if _is_cut(run.timeline, agent.name)
                else run.timeline.written[agent.name]
                for agent in pipeline
            },
        )
        for run in runs
    ]


def _is_cut(line: Timeline, agent: str) -> bool:
    own = [span for span in line.spans if span.agent == agent]
    return not own or own[-1].reason == "cancelled"


_RUN = TypeAdapter(PlayedRun)


class RunLog:
    """JSON lines: a heading with ``key``, then one run a line, each there as soon as it is over.

    A file with another key is of other runs and is begun anew; a last line that was not written to
    its end is dropped.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        heading = json.dumps({"schema": SCHEMA, "key": key})
        self.runs: list[PlayedRun] = []
        try:
            first, *lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            first, lines = "", []
        self._read(lines if first == heading else [])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = [_RUN.dump_json(run).decode() for run in self.runs]
            path.write_text("\n".join([heading, *kept, ""]), encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from None

    def _read(self, lines: Sequence[str]) -> None:
        for line in lines:
            try:
                self.runs.append(_RUN.validate_json(line))
            except ValidationError:
                return

    def note(self, run: PlayedRun) -> None:
        self.runs.append(run)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_RUN.dump_json(run).decode() + "\n")

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)
