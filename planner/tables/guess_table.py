"""What guesses gain, by agent and position of the text."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from planner.figures.number_format import number
from profiles.guessed_passes import GuessedTexts
from staircase.metrics.request_metrics import Summary


def guess_table(texts: Mapping[str, GuessedTexts]) -> Table:
    """Of ``texts`` by agent, tokens that a pass gives, with 90 % intervals over texts."""
    table = Table(title="Guesses", title_justify="left")
    for column in ("agent", "passes that begin at token", "tokens a pass", "90 %", "width"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    for agent, some in texts.items():
        width = number(some.mean_width) if some.passes else "-"
        table.add_row(agent, "all", *_cells(some.tokens_a_pass()), width)
        for start, stop, found in some.by_position():
            table.add_row("", f"{start} to {stop - 1}", *_cells(found), "")
    return table


def _cells(found: Summary) -> tuple[str, str]:
    return f"{found.mean:.2f}", f"{found.low:.2f} to {found.high:.2f}"
