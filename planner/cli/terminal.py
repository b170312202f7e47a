"""What the commands share: options, where they print, progress."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from planner.progress import Progress, Track
from staircase.bounds import MOST, MOST_SAMPLES, MOST_SEED, MOST_WORKERS

if TYPE_CHECKING:
    from planner.workspace import Workspace

# Where the output is no terminal, nothing has to fit.
ANY_COLUMNS = 10_000


class PlainConsole(Console):
    """Prints text as it is: nothing in it is markup, and nothing is ever cut.

    Lines stay whole, and tables that are wider than ``COLUMNS``, or than the terminal, are folded.
    """

    def __init__(self, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        width = _columns() or (None if stream.isatty() else ANY_COLUMNS)
        super().__init__(stderr=stderr, width=width, markup=False, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        for one in objects:
            for column in one.columns if isinstance(one, Table) else ():
                column.no_wrap, column.overflow = False, "fold"
        if not any(isinstance(one, Table) for one in objects):
            options.setdefault("soft_wrap", True)
        super().print(*objects, **options)


def _columns() -> int | None:
    """What the environment says; None if nothing."""
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isdecimal() and int(said) else None


screen = PlainConsole()
notes = PlainConsole(stderr=True)


def finite(value: float | None) -> float | None:
    """For options: what is no number passes every comparison with bounds."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} must be a finite number")
    return value


ScenarioPath = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]
OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder for results [default: runs/NAME].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests", min=1, max=MOST, help="How many requests [default: as the scenario says]."
    ),
]
Replicates = Annotated[
    int,
    typer.Option(min=1, max=MOST, help="Simulations, each with other lengths, arrivals and noise."),
]
StaircaseWord = Annotated[
    str,
    typer.Option(
        help="normal, constant:FIRST,CHUNK,WRITE, geometric:FIRST,RATIO,CAP,WRITE "
        "or steps:READ/WRITE,READ/WRITE."
    ),
]
LayoutName = Annotated[
    str, typer.Option(help="rebuild, rebuild_query_first, append_rounds or interleave.")
]
BarrierWord = Annotated[
    str,
    typer.Option(
        help="Whom a step waits for: all, quorum:COUNT, grace:COUNT,SECONDS or ahead:COUNT."
    ),
]
WindowWord = Annotated[
    str,
    typer.Option(
        help="Of inputs only the last tokens are shown: TOKENS or TOKENS/HOP, the tokens by which "
        "what is shown moves on; none: all."
    ),
]
Checked = Annotated[
    str,
    typer.Option(
        help="What an agent wrote is checked whenever it has read more, until it has read so many "
        "tokens of each source, or all; 0: not at all."
    ),
]
Show = Annotated[str, typer.Option(help="What is checked is shown once it is settled, or at_once.")]
Revision = Annotated[
    str,
    typer.Option(help="What was written on words that an input replaced: rewrite it, or keep it."),
]
AtOnce = Annotated[
    int | None,
    typer.Option(
        min=1, max=MOST_SAMPLES, help="So many of those write at a time on whom somebody votes."
    ),
]
Without = Annotated[
    list[str] | None, typer.Option(help="A proposer that is not asked; once for each.")
]
Trials = Annotated[int | None, typer.Option(min=1, max=MOST, help="Schedules to try.")]
Seed = Annotated[int | None, typer.Option(min=0, max=MOST_SEED, help="Seed of the search.")]
Workers = Annotated[
    int,
    typer.Option(
        min=1, max=MOST_WORKERS, help="Processes that simulate, on this machine; Ray runs them."
    ),
]
Slos = Annotated[
    list[str] | None,
    typer.Option(help="Limit for goodput: ttft:MS, tpot:MS or e2e:MS; once for each."),
]
Trace = Annotated[Path | None, typer.Option(help="Write timelines here, for ui.perfetto.dev.")]


def open_workspace(
    scenario: Path, out: Path | None, plan_changes: dict[str, Any] | None = None
) -> Workspace:
    from planner.workspace import Workspace

    work = Workspace.open(scenario, out)
    return work.with_plan(plan_changes) if plan_changes else work


@contextmanager
def progress_bars(transient: bool = False, between_steps: bool = False) -> Iterator[Track]:
    """Progress bars on stderr, which vanish at the end if they are ``transient``.

    They are drawn only ``between_steps`` where a thread that draws would disturb what is measured.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # What vanishes leaves an empty line behind where it could not be shown.
    hidden = transient and not notes.is_terminal
    with Progress(
        *columns,
        console=notes,
        transient=transient,
        disable=hidden,
        auto_refresh=not between_steps,
    ) as progress:

        def track(what: str, total: int | None) -> Callable[[], None]:
            task = progress.add_task(what, total=total)
            done = count(1)

            def step() -> None:
                now = next(done)
                # There may be more to do than was asked for, as the baselines of a search.
                most = None if total is None else max(total, now)
                progress.update(task, completed=now, total=most, refresh=between_steps)

            return step

        yield track


def print_json(content: Any) -> None:
    from staircase.files import without_nan

    print(json.dumps(without_nan(content), indent=1))


def say(words: Iterable[str]) -> None:
    """Lines on stderr, as they are."""
    for line in words:
        notes.print(line, soft_wrap=True, highlight=False, markup=False)


def on_terminal() -> Progress:
    """Bars and lines on stderr."""
    return Progress(progress_bars, say)
