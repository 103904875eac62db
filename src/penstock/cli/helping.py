"""help: the help of a verb, as ``--help`` behind it gives it."""

import asyncclick as click

from .lazy import load


def help_of(words: tuple[str, ...]) -> None:
    """Prints it, or that of ``penstock`` without words. Raises NoSuchCommand."""
    root = load("root").root
    at = click.Context(root, info_name="penstock", **root.context_settings)
    for word in words:
        known = at.command.commands if isinstance(at.command, click.Group) else {}
        if word not in known:
            raise click.exceptions.NoSuchCommand(word, possibilities=known, ctx=at)
        verb = known[word]
        at = click.Context(verb, parent=at, info_name=word, **verb.context_settings)
    click.echo(at.get_help())
