"""Options that would have no effect are an error, not silence."""

from __future__ import annotations

import typer

from staircase.errors import InputError


def refuse(ctx: typer.Context, *names: str, why: str) -> None:
    """Raises InputError if one of these parameters was given on the command line."""
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(f"--{name.replace('_', '-')} has no effect here: {why}")
