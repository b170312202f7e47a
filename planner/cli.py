"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import gc
import sys

import typer

from planner.commands import (
    explaining,
    judging,
    main_job,
    profiles,
    real_engines,
    simulation,
    tuning,
    variants,
)
from planner.terminal import notes
from staircase.errors import EngineError, InputError

# What shells call it when Ctrl-C ended a command.
INTERRUPTED = 130

app = typer.Typer(
    name="staircase",
    help="How early may the last model of a pipeline start to write, and what does that cost?\n\n"
    "A scenario file describes the pipeline. 'profile' measures it on this machine, 'plan' "
    "searches schedules on a simulator, 'validate' runs the best ones for real; 'demo' does all "
    "of it on small embedded models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(profiles.app, name="profile")
for command in (
    main_job.plan,
    variants.variants,
    explaining.explain,
    simulation.simulate,
    simulation.capacity,
    simulation.compare,
    main_job.validate,
    tuning.tune,
    real_engines.run,
    real_engines.engines,
    judging.judge,
    main_job.demo,
):
    app.command()(command)


def main() -> None:
    """Runs the command line; wrong input ends with one line and exit code 2."""
    # Imports make many objects and no garbage: to look for it took a third of a short command.
    gc.set_threshold(200_000)
    try:
        app()
    except InputError as error:
        notes.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)
    except EngineError as error:
        notes.print(f"[bold red]engine:[/] {_escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer makes this exit of an interrupt, without a word.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        notes.print("interrupted")
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


if __name__ == "__main__":
    main()
