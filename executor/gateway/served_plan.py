"""A plan as it is served: its schedules by name, and where it goes under load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from executor.gateway.gate import Gate
from executor.runtime import Runtime, ServedModel
from staircase.errors import InputError
from staircase.pipeline import Agent, Pipeline
from staircase.schedule import Schedule, proposers_of

CHOSEN, NORMAL, SINGLE = "chosen", "normal", "single"
BETWEEN = "@"


@dataclass(frozen=True)
class Point:
    """A schedule that requests can be answered by.

    Attributes:
        pipeline: the plan's, or its answering agent alone.
        forecast: means by metric, in seconds, of those that are known.
    """

    name: str
    pipeline: Pipeline
    schedule: Schedule
    forecast: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ServingLimits:
    """How much of a plan is served at once.

    Attributes:
        concurrency: requests that are played.
        queue: requests that wait; any other is turned away.
        deadline_s: of requests that name none; None: they have as long as it takes.
        inputs_s: what a client says while it is answered is over after so long.
    """

    concurrency: int = 8
    queue: int = 32
    deadline_s: float | None = None
    inputs_s: float = 60.0


@dataclass(frozen=True)
class ServedPlan:
    """One plan on its engines.

    Attributes:
        points: by name; ``chosen`` is the one of requests that name none.
        ladder: where requests that name none go as more of them wait: from the choice on, each
            asks less of the engines than the one before.
        ends_s: by agent, when its text is there when everything is read before writing, by the
            plan's forecast; what deadlines are split by.
        shows_drafts: the proposers' drafts are streamed as reasoning.
        remarks: what is odd about it, in words.
    """

    name: str
    runtime: Runtime
    points: Mapping[str, Point]
    ladder: Sequence[Point]
    limits: ServingLimits = ServingLimits()
    ends_s: Mapping[str, float] = field(default_factory=dict)
    gate: Gate | None = None
    shows_drafts: bool = False
    remarks: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.name or BETWEEN in self.name:
            raise InputError(f"name {self.name!r}: a plan that is served has none with {BETWEEN!r}")

    @property
    def pipeline(self) -> Pipeline:
        return self.points[CHOSEN].pipeline

    @property
    def answering(self) -> Agent:
        return self.pipeline[self.pipeline.answer]

    @property
    def answering_model(self) -> ServedModel:
        return self.runtime.served[self.answering.engine]

    def rung(self, pressure: float) -> Point:
        """Of the ladder, when ``pressure`` (0 to 1) of the queue is taken."""
        return self.ladder[round(pressure * (len(self.ladder) - 1))]

    @property
    def models(self) -> list[str]:
        """The names by which clients ask for it."""
        others = [name for name in self.points if name != CHOSEN]
        return [self.name, *(f"{self.name}{BETWEEN}{name}" for name in others)]


def single_point(pipeline: Pipeline) -> Point:
    """The agent that answers, alone with the inputs, which it reads when they are whole."""
    inputs = pipeline.inputs
    alone = replace(pipeline[pipeline.answer].alone(), reads=tuple(one.name for one in inputs))
    return Point(SINGLE, Pipeline((*inputs, alone), alone.name), Schedule())


def ladder_of(cheaper: Sequence[Point]) -> list[Point]:
    """From ``cheaper`` points, dearest first, on: smaller panels, then the single model.

    Proposers are left out from the last one on.
    """
    last = cheaper[-1]
    rungs, left_out = list(cheaper), list(last.schedule.without)
    for name in reversed(proposers_of(last.pipeline)):
        if name in left_out:
            continue
        left_out.append(name)
        smaller = replace(last.schedule, without=tuple(left_out))
        if not smaller.leaves_somebody(last.pipeline):
            break
        rungs.append(Point(f"without {' '.join(smaller.without)}", last.pipeline, smaller))
    if last.pipeline.readers:
        rungs.append(single_point(last.pipeline))
    return rungs
