"""Runs of a validation as a file: what was asked, what every agent wrote, every call and token.

JSON lines. The first one is a ``RunsHeader``; each other one is a ``RecordedRun``. Times are
integer picoseconds since the request's arrival. ``docs/recorded_runs.md`` describes the fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from executor.runtime import Outcome
from planner.results.plans import Candidate
from profiles.store import Provenance, provenance_of_now
from staircase.errors import RecordError
from staircase.files import first_error, read_json_lines, write_text
from staircase.schedule import Schedule
from staircase.spec.scenario import Scenario
from staircase.timeline import Timeline, since_arrival
from staircase.workload import Question

SCHEMA = "staircase.runs/1"


@dataclass(frozen=True)
class AskedRun:
    """One question under one schedule."""

    question: Question
    outcome: Outcome


@dataclass(frozen=True)
class RunsHeader:
    """What the runs of a file have in common.

    Attributes:
        scenario: what its file says, so that it can be read as one.
        schedules: by name.
    """

    schema: str
    scenario: Mapping[str, Any]
    schedules: Mapping[str, Schedule]
    provenance: Provenance


@dataclass(frozen=True)
class RecordedRun:
    """One question under the schedule called ``name``.

    Attributes:
        texts: what each agent wrote.
        timeline: of a request that arrives at 0.
    """

    name: str
    question: str
    texts: Mapping[str, str]
    timeline: Timeline
    reference: str | None = None


@dataclass(frozen=True)
class RecordedRuns:
    """All of a file, in its order."""

    header: RunsHeader
    runs: tuple[RecordedRun, ...]


HEADER, RUN = TypeAdapter(RunsHeader), TypeAdapter(RecordedRun)


def recorded(
    scenario: Scenario, chosen: Mapping[str, Candidate], played: Mapping[str, Sequence[AskedRun]]
) -> RecordedRuns:
    """Of schedules that were played, by name."""
    header = RunsHeader(
        SCHEMA,
        scenario.model_dump(mode="json", exclude_unset=True),
        {name: candidate.schedule for name, candidate in chosen.items()},
        provenance_of_now(),
    )
    runs = (_recorded(name, run) for name, some in played.items() for run in some)
    return RecordedRuns(header, tuple(runs))


def _recorded(name: str, run: AskedRun) -> RecordedRun:
    line = since_arrival(run.outcome.timeline)
    return RecordedRun(name, run.question.text, run.outcome.texts, line, run.question.reference)


def save_runs(path: Path, found: RecordedRuns) -> None:
    """Raises InputError if nothing can be written there."""
    entries = [HEADER.dump_python(found.header, mode="json")]
    entries += [RUN.dump_python(run, mode="json") for run in found.runs]
    lines = (json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries)
    write_text(path, "".join(f"{line}\n" for line in lines))


def load_runs(path: Path) -> RecordedRuns:
    """Raises RecordError that names the file, the line and the key."""
    lines = read_json_lines(path, RecordError, "recorded runs")
    place, first = next(lines, (str(path), None))
    if not isinstance(first, dict) or first.get("schema") != SCHEMA:
        raise RecordError(f"{place}: schema: must be {SCHEMA!r}, as 'validate --save' writes it")
    header = _checked(HEADER, place, first)
    return RecordedRuns(header, tuple(_checked(RUN, *line) for line in lines))


def _checked(kind: TypeAdapter[Any], place: str, content: Any) -> Any:
    try:
        return kind.validate_python(content)
    except ValidationError as error:
        raise RecordError(f"{place}: {first_error(error)}") from None
