"""Options that would have no effect are an error, not silence."""

from __future__ import annotations

import typer

from staircase.errors import InputError
from staircase.pipeline import Pipeline
from staircase.schedule import Schedule

# Options by which a command says a schedule, of which it need not have all.
SCHEDULE = (
    "staircase",
    "layout",
    "barrier",
    "window",
    "reading",
    "starve",
    "without",
    "at_once",
    "checked",
    "show",
    "revision",
)


def schedule_given(ctx: typer.Context, pipeline: Pipeline) -> Schedule:
    """What the options of the command say.

    Raises:
        InputError: a word is wrong, or has no effect.
    """
    from planner.api.opening import uniform_schedule

    words = {name: ctx.params[name] for name in SCHEDULE if ctx.params.get(name) is not None}
    if words["checked"] == "0":
        refuse(ctx, "show", why="without --checked all is shown as it is written")
    if not pipeline.inputs:
        refuse(ctx, "revision", why="the pipeline has no inputs to be replaced")
    return uniform_schedule(pipeline, **words)


def refuse(ctx: typer.Context, *names: str, why: str) -> None:
    """Raises InputError if one of these parameters was given on the command line."""
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(f"--{name.replace('_', '-')} has no effect here: {why}")
