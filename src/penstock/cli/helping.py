"""help: the help of a verb, as ``--help`` behind it gives it."""

import asyncclick as click

from .invocation import current
from .lazy import load
from .standard import say


def help_of(words: tuple[str, ...]) -> None:
    """Prints it, or that of ``penstock`` without words. Raises NoSuchCommand."""
    root = load("root").root
    width = current().help_width
    settings = root.context_settings
    at = click.Context(root, info_name="penstock", terminal_width=width, **settings)
    for word in words:
        known = at.command.commands if isinstance(at.command, click.Group) else {}
        if word not in known:
            raise click.exceptions.NoSuchCommand(word, possibilities=known, ctx=at)
        verb = known[word]
        at = click.Context(verb, parent=at, info_name=word, **verb.context_settings)
    say(at.get_help())
