"""How many items texts had whose items start branches, and whether there were enough branches."""

from __future__ import annotations

from collections.abc import Sequence

from staircase.pipeline import Agent, Pipeline
from staircase.timeline import Timeline


def item_lines(pipeline: Pipeline, timelines: Sequence[Timeline]) -> list[str]:
    """In words, a line for each template whose texts have items."""
    templates: dict[str, list[Agent]] = {}
    for agent in pipeline:
        if agent.items:
            templates.setdefault(agent.template, []).append(agent)
    found = (_line(name, some, pipeline, timelines) for name, some in templates.items())
    return [line for line in found if line]


def _line(
    template: str, agents: Sequence[Agent], pipeline: Pipeline, timelines: Sequence[Timeline]
) -> str:
    """Nothing where no text was written."""
    most = max(
        (one.fork.item for agent in agents for one in pipeline.readers_of(agent.name) if one.fork),
        default=0,
    )
    counts = [
        len(line.items[agent.name])
        for line in timelines
        for agent in agents
        if line.written.get(agent.name)
    ]
    if not counts:
        return ""
    more = sum(count > most for count in counts)
    return (
        f"{template}: {sum(counts) / len(counts):.1f} items a text, {min(counts)} to "
        f"{max(counts)}; {more} of {len(counts)} texts have more than the {most} "
        "that start a branch"
    )
