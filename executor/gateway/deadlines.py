"""A deadline, split over a pipeline's stages by when the plan forecasts that each ends."""

from __future__ import annotations

from collections.abc import Mapping

from staircase.pipeline import Pipeline


def limits_s(
    pipeline: Pipeline, deadline_s: float, ends_s: Mapping[str, float]
) -> dict[str, float]:
    """By agent, when at the latest its text is what it has written, in seconds.

    Each agent that follows keeps the time of its forecast, shortened alike for all if the deadline
    is before the forecast end; what is left over beyond it is for whoever is late first.

    Args:
        ends_s: forecast ends by agent. Of agents without one, stages are taken to be equally long.
    """
    depths = _depths(pipeline)
    last = pipeline.answer
    if last not in ends_s or not ends_s[last]:
        ends_s = {name: deadline_s * depth / depths[last] for name, depth in depths.items()}
    end = ends_s[last]
    found = {}
    for name, depth in depths.items():
        usual = ends_s.get(name, end * depth / depths[last])
        found[name] = usual * min(1.0, deadline_s / end) + max(0.0, deadline_s - end)
    return found | {last: deadline_s}


def _depths(pipeline: Pipeline) -> dict[str, int]:
    """How many agents write one after the other until each has."""
    depths: dict[str, int] = {}
    for agent in pipeline.order:
        depths[agent.name] = 1 + max((depths[source] for source in agent.follows), default=0)
    return depths
