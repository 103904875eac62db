"""What to do about a mistake in a command line, where asyncclick does not say it."""

from collections.abc import Mapping
from typing import Final

import asyncclick as click

# Of docker, kubectl, systemctl, kill(1) and shells, and too unlike ours to be found by likeness.
HABITS: Final[Mapping[str, str]] = {
    "cancel": "stop",
    "delete": "rm",
    "describe": "status",
    "exec": "run",
    "get": "list",
    "info": "status",
    "inspect": "status",
    "jobs": "list",
    "ls": "list",
    "remove": "rm",
    "show": "status",
    "stdin": "send",
    "submit": "start",
    "tail": "stream",
    "terminate": "stop",
    "unpause": "resume",
}


def add_hint(error: click.ClickException) -> None:
    """Adds to the error's message what helps."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is None:
        return
    is_group = isinstance(ctx.command, click.Group)
    if isinstance(error, click.exceptions.NoSuchCommand) and is_group:
        meant = HABITS.get(error.command_name)
        if meant in ctx.command.commands and meant not in error.possibilities:
            error.message = f"{error.message} Here that is {meant!r}."
    if not isinstance(error, click.exceptions.NoSuchOption):
        return
    if (form := _global_form(ctx, error.option_name)) is not None:
        error.possibilities = []  # what is like it is not meant
        verb = ctx.command_path.partition(" ")[2]
        error.message = f"{error.message} It stands in front of the verb: penstock {form} {verb}"
    # Of a verb whose COMMAND has options of its own, which stand behind it.
    elif not is_group and not ctx.allow_interspersed_args:
        error.message = (
            f"{error.message} What COMMAND takes stands behind it; in front of a COMMAND that "
            "begins with a dash write --."
        )


def _global_form(ctx: click.Context, option: str) -> str | None:
    """How an option of ``penstock`` itself is typed, which a verb behind it does not take; None: it
    is none."""
    root = ctx.find_root()
    for each in root.command.params if ctx is not root else ():
        if option in each.opts:
            return option if each.metavar is None else f"{option} {each.metavar}"
    return None
