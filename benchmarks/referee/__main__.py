"""Recorded runs of engines beside their forecasts.

    python -m benchmarks.referee DATA [--short] [--host NAME]

Every run in DATA that is in LLMServingSim's layout, or that a ``run.yaml`` describes
(docs/simulator.md), is played with its own arguments, lengths, arrivals and block count: by kernel
times where there are some, else by a roofline. First nothing is fitted; what the links between
devices come to is told by a row without them. Then one constant is added to each iteration, which
makes the mean time per output token of the first third right, and the rest is judged. With --host
every iteration takes what was published of an engine's host besides (profiles/hardware/hosts.py). A
run that cannot be played is told in a line. Exit code 0 if any was played, 2 if none was found,
else 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from benchmarks.referee.finding import find_runs
from benchmarks.referee.judging import judge
from benchmarks.referee.tables import refusals_table, run_table, summary_cells, summary_table
from profiles.hardware.hosts import HOSTS, Host
from staircase.errors import InputError

WIDTH = 150


def referee(data: Path, console: Console, host: Host, *, is_short: bool = False) -> int:
    """Prints all runs in ``data``; the exit code."""
    found = find_runs(data)
    if not found:
        console.print(f"{data}: holds no recorded run, as docs/simulator.md describes them")
        return 2
    played, refused = summary_table(), refusals_table()
    for one in found:
        try:
            run = one.read().on(host)
            judgements = judge(run)
        except InputError as error:
            said = str(error).replace(f"{data}/", "")
            refused.add_row(*map(escape, (str(one.path.relative_to(data)), said)))
            continue
        if not is_short:
            console.print(run_table(run, judgements))
        played.add_row(*map(escape, summary_cells(run, judgements)))
    for table in (played, refused):
        if table.rows:
            console.print(table)
    return 0 if played.rows else 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--short", action="store_true", help="Only the errors of means.")
    parser.add_argument("--host", choices=HOSTS, default="none")
    words = parser.parse_args()
    console = Console(width=WIDTH)
    sys.exit(referee(words.data, console, HOSTS[words.host], is_short=words.short))


if __name__ == "__main__":
    main()
