"""What the commands share: options, where they print, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from planner.workspace import Workspace
    from staircase.schedule import Schedule

# Tables need some width even where the output is no terminal.
screen = Console(width=None if sys.stdout.isatty() else 120)
notes = Console(stderr=True)

ScenarioPath = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]
OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder for results [default: runs/NAME].")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Requests = Annotated[
    int | None,
    typer.Option("--requests", min=1, help="How many requests [default: as the scenario says]."),
]
Replicates = Annotated[
    int, typer.Option(min=1, help="Simulate so often, with other lengths, arrivals and noise.")
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
    str, typer.Option(help="Whom a step waits for: all, quorum:COUNT or grace:COUNT,SECONDS.")
]
Without = Annotated[
    list[str] | None, typer.Option(help="A proposer that is not asked; once for each.")
]
Trials = Annotated[int | None, typer.Option(min=1, help="Schedules to try.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the search.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes that simulate, on this machine; Ray runs them.")
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


def schedule_of(
    work: Workspace,
    staircase: str,
    layout: str,
    barrier: str,
    reading: str = "exact",
    starve: str = "wait",
    without: Sequence[str] | None = None,
) -> Schedule:
    """The same staircase for every reading agent."""
    from staircase.schedule import Schedule, parse_barrier, parse_staircase

    steps = parse_staircase(staircase)
    readers = work.scenario.pipeline.build().readers
    staircases = {agent.name: steps for agent in readers}
    return Schedule(
        staircases,
        layout,  # type: ignore[arg-type]
        parse_barrier(barrier),
        reading,  # type: ignore[arg-type]
        starve,  # type: ignore[arg-type]
        without=tuple(without or ()),
    )


@contextmanager
def progress_bars(
    transient: bool = False, between_steps: bool = False
) -> Iterator[Callable[[str, int | None], Callable[[], None]]]:
    """Progress bars on stderr, which vanish at the end if they are ``transient``.

    They are drawn only ``between_steps`` where a thread that draws would disturb what is measured.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
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
            return lambda: progress.update(task, advance=1, refresh=between_steps)

        yield track


def print_json(content: Any) -> None:
    from staircase.files import without_nan

    print(json.dumps(without_nan(content), indent=1))


@contextmanager
def kept_on_interrupt(samples: Path) -> Iterator[None]:
    """Says what an interrupt leaves."""
    try:
        yield
    except KeyboardInterrupt:
        if samples.exists():
            notes.print(
                f"kept: {samples}; the same command goes on from there",
                soft_wrap=True,
                highlight=False,
            )
        raise
