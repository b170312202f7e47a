"""The command line. Heavy imports wait until a command needs them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Annotated

import typer
from rich.text import Text

from planner.cli.commands import (
    explaining,
    judging,
    main_job,
    profiles,
    real_engines,
    serving,
    simulation,
    tuning,
    variants,
)
from planner.cli.terminal import notes
from planner.extras import what_to_install
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
    rich_markup_mode=None,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"staircase {version('staircase')}")
        raise typer.Exit


@app.callback()
def _options(
    is_asked: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """What holds for all commands."""


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
    serving.serve,
    judging.judge,
    main_job.demo,
):
    app.command()(command)


@cache
def _command() -> Callable[[], object]:
    """Typer's command of all of them, which takes longer to make than some to run."""
    return typer.main.get_command(app)


def main() -> None:
    """Runs the command line; wrong input ends with one line and exit code 2."""
    # Imports make many objects and no garbage: to look for it took a third of a short command.
    gc.set_threshold(200_000)
    # Libraries show bars of their own, as transformers does while it reads a GGUF file.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        _command()()
    except BrokenPipeError:
        # Who read our output has seen enough, as in `… | head`.
        _leave_the_pipe()
        sys.exit(1)
    except InputError as error:
        _tell("error:", error)
        sys.exit(2)
    except ModuleNotFoundError as error:
        line = what_to_install(error.name)
        if line is None:
            raise
        _tell("error:", line)
        sys.exit(2)
    except EngineError as error:
        _tell("engine:", error)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer makes this exit of an interrupt, without a word.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            _flush()
            raise
        notes.print("interrupted")
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()


def _tell(what: str, error: Exception | str) -> None:
    # One line, though a name in it may have several.
    line = " ".join(str(error).split("\n")).rstrip()
    notes.print(Text.assemble((what, "bold red"), f" {line}"))


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_the_pipe()


def _leave_the_pipe() -> None:
    """What is left in the buffer goes nowhere, without a word when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
