"""What the choice is under TTFT with a limit of the stall, and under the smooth start.

``python -m benchmarks.objectives``: for three example scenarios the schedule that each objective
chooses, with first token, smooth start, last token and what was unread, as forecast; ``normal``
beside them.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from planner import plan
from planner.figures.describing import describe_schedule
from planner.results.plans import Candidate

EXAMPLES = Path(__file__).parents[1] / "examples"
SCENARIOS = ("paper_moa", "two_layers", "debate")
# The default until smooth start took its place: the mean stall of a reader at most 1 s.
BEFORE = {"stall.mean": 1.0}


def main() -> None:
    table = Table("scenario", "chosen for", "first token s", "smooth start s", "last token s")
    table.add_column("unread")
    table.add_column("schedule", overflow="fold")
    for name in SCENARIOS:
        path = EXAMPLES / f"{name}.yaml"
        now = plan(path, objectives=["smooth_start", "unread"])
        before = plan(path, objectives=["ttft", "unread"], slo=BEFORE)
        table.add_row(name, "(normal)", *_cells(now.named()["normal"]))
        table.add_row("", "ttft", *_cells(before.named()["chosen"]))
        table.add_row("", "smooth start", *_cells(now.named()["chosen"]), end_section=True)
    Console(width=150).print(table)


def _cells(one: Candidate) -> list[str]:
    names = ("ttft_s", "smooth_start_s", "e2e_s", "unread")
    figures = [f"{one.forecast[name].mean:.3f}" for name in names]
    return [*figures, describe_schedule(one.schedule)]


if __name__ == "__main__":
    main()
