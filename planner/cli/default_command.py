"""Commands with subcommands beside what they do on their own."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class DefaultGroup(TyperGroup):
    """``profile SCENARIO`` is ``profile measure SCENARIO``: what is no subcommand, is measured."""

    default = "measure"

    # Its type is click's, which is a package or a part of typer by typer's version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)
