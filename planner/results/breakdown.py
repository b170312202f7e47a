"""Where TTFT goes on average over requests: by the agents' part in the pipeline, and by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from staircase.metrics.ttft import PHASES, Phase, ttft_path
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule
from staircase.timeline import Timeline, to_s


@dataclass(frozen=True)
class TtftPart:
    """What one phase of the agents with one role takes of TTFT, on the critical path."""

    role: str
    phase: Phase
    mean_s: float


@dataclass(frozen=True)
class TtftParts:
    """Means over the requests with an answer; the parts sum to ``ttft_s``."""

    ttft_s: float
    parts: tuple[TtftPart, ...]


def ttft_parts(
    timelines: Sequence[Timeline],
    pipeline: Pipeline,
    schedule: Schedule,
    call_ps: Mapping[str, int],
) -> TtftParts:
    """Args are those of ``staircase.metrics.ttft.ttft_path``, ``timelines`` of one schedule."""
    roles, sums = roles_of(pipeline), dict[tuple[str, Phase], int]()
    answered = [line for line in timelines if line.answer_ps]
    for line in answered:
        for stretch in ttft_path(line, pipeline, schedule, call_ps):
            place = roles.get(stretch.agent, "start"), stretch.phase
            sums[place] = sums.get(place, 0) + stretch.length_ps
    count = max(len(answered), 1)
    order = list(dict.fromkeys(["start", *roles.values()]))
    parts = tuple(
        TtftPart(role, phase, to_s(sums[role, phase] / count))
        for role, phase in sorted(sums, key=lambda s: (order.index(s[0]), PHASES.index(s[1])))
    )
    total_ps = sum(line.answer_ps[0] - line.arrival_ps for line in answered)
    return TtftParts(to_s(total_ps / count), parts)


def roles_of(pipeline: Pipeline) -> dict[str, str]:
    """By agent, sources first: the proposers, or of deeper pipelines the layer; and the answer."""
    depths: dict[str, int] = {}
    for agent in pipeline.order:
        depths[agent.name] = 1 + max((depths[source] for source in agent.follows), default=0)
    is_flat = depths[pipeline.answer] <= 2
    roles = {
        name: "proposers" if is_flat else f"layer {depth}"
        for name, depth in sorted(depths.items(), key=lambda entry: entry[1])
    }
    return {**roles, pipeline.answer: "answer"}


def median_request(timelines: Sequence[Timeline]) -> int:
    """The place of the timeline with the median TTFT; the first if none has an answer."""
    order = sorted(
        (line.answer_ps[0] - line.arrival_ps, place)
        for place, line in enumerate(timelines)
        if line.answer_ps
    )
    return order[(len(order) - 1) // 2][1] if order else 0
