"""What it gains that an outline's items start workers while the outline is still written.

    python -m benchmarks.forks [SCENARIO]

The pipeline of ``examples/forks.yaml`` as it is; with workers that see their item alone; and with
workers that wait for the whole outline. Whoever joins them reads all first, or 16 tokens more
before every 16 of its own: of all of them, or of any two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simulator.forecast import SimulatedForecaster
from staircase import Agent, Barrier, Pipeline, Schedule, constant, normal
from staircase.spec.scenario import load_scenario

EXAMPLE = Path(__file__).parents[1] / "examples" / "forks.yaml"
JOINS = (
    ("all first", normal(), Barrier()),
    ("in steps", constant(16, 16, 16), Barrier()),
    ("in steps, of two", constant(16, 16, 16), Barrier("quorum", 2)),
)


def pipelines(forked: Pipeline) -> Iterator[tuple[str, Pipeline]]:
    def changed(agent: Agent, fork: dict[str, str] | None) -> Agent:
        if not agent.fork:
            return agent
        return replace(agent, fork=replace(agent.fork, **fork) if fork else None)  # type: ignore[arg-type]

    yield "when their item is complete", forked
    for words, fork in {
        "then, and see it alone": {"sees": "item"},
        "when the outline is": None,
    }.items():
        agents = tuple(changed(agent, fork) for agent in forked)
        yield words, replace(forked, agents=agents)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLE
    forecaster = SimulatedForecaster.open(load_scenario(path), path.parent)
    made = Table("workers start", "the join reads", "first token s", "last token s", "prefilled")
    for words, pipeline in pipelines(forecaster.pipeline):
        for name, steps, barrier in JOINS:
            schedule = Schedule({pipeline.answer: steps}, barrier=barrier)
            found = replace(forecaster, pipeline=pipeline)(schedule).metrics
            times = (f"{found[key].mean:.2f}" for key in ("ttft_s", "e2e_s"))
            made.add_row(words, name, *times, f"{found['prefilled_tokens'].mean:,.0f}")
    Console(width=100).print(made)


if __name__ == "__main__":
    main()
