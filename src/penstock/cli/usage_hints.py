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
    # Of a verb whose COMMAND has options of its own, which stand behind it.
    own = not is_group and not ctx.allow_interspersed_args
    if isinstance(error, click.exceptions.NoSuchOption) and own:
        error.message = (
            f"{error.message} What COMMAND takes stands behind it; in front of a COMMAND that "
            "begins with a dash write --."
        )
