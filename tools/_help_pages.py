"""The pages of ``penstock VERB --help``, as asyncclick makes them of the verbs' declarations."""

from collections.abc import Iterator
from pathlib import Path

import asyncclick as click

from penstock.cli.ready_help import page_name
from penstock.cli.root import root

PAGES = Path(__file__).resolve().parent.parent / "src" / "penstock" / "cli" / "help"


def help_pages() -> dict[str, str]:
    """The text of each page by its file's name."""
    top = click.Context(root, info_name="penstock", terminal_width=78, **root.context_settings)
    return {page_name(words): f"{context.get_help()}\n" for words, context in _all(top, [])}


def _all(context: click.Context, words: list[str]) -> Iterator[tuple[list[str], click.Context]]:
    yield words, context
    if isinstance(context.command, click.Group):
        for name, verb in context.command.commands.items():
            below = click.Context(verb, context, info_name=name, **verb.context_settings)
            yield from _all(below, [*words, name])
