"""How a verb is declared: its place, arguments and options, and what every verb has.

Apart from the tables of verbs (``verbs``, ``context_group``), which are made of these.
"""

from collections.abc import Callable
from dataclasses import replace
from inspect import cleandoc
from typing import Final

import asyncclick as click

from .arguments import CONNECT_TIMEOUT, NAMED_CONTEXT, OUTPUT, TEXT
from .lazy import load


def argument(name: str, **form: object) -> click.Argument:
    """Text that is not an option."""
    return click.Argument([name], type=TEXT, **form)


def option(*names: str, **form: object) -> click.Option:
    """An option as click takes it: --all, -a, and the parameter's name if that is another."""
    return click.Option(list(names), **form)


def behind(setting: str, name: str, **form: object) -> click.Option:
    """A global option that may also stand behind the verb, because most users write it there."""

    def use(ctx: click.Context, _: object, value: object) -> None:
        if value is not None:
            ctx.obj = replace(ctx.obj, **{setting: value})

    return option(name, f"own_{setting}", callback=use, expose_value=False, **form)


VERB: Final = "penstock.verb"
"""Where the root context's ``meta`` has the context of the verb that was called."""

HOSTED: Final = "penstock_hosted"
"""The attribute of a verb's command that has its ``hosted``."""

OUTPUT_BEHIND: Final = behind("output", "-o", **OUTPUT)
CONNECT_TIMEOUT_BEHIND: Final = behind("connect_timeout_s", "--connect-timeout", **CONNECT_TIMEOUT)
CONTEXT_BEHIND: Final = behind("context", "--context", **NAMED_CONTEXT)
_OF_CONNECTIONS: Final = (OUTPUT_BEHIND, CONNECT_TIMEOUT_BEHIND, CONTEXT_BEHIND)


def verb(
    place: str,
    help_text: str,
    *params: click.Parameter,
    cls: type[click.Command] = click.Command,
    connects: bool = True,
    own: tuple[click.Option, ...] = _OF_CONNECTIONS,
    example: str = "",
    hosted: bool = True,
    **form: object,
) -> click.Command:
    """Declares a verb. ``place``: module.function, loaded when the verb is called, and async if
    it waits. ``connects``: it may call a server, so it gets the settings as its first argument, and
    ``own``, the global options that may stand behind it. ``example``: lines that a user may type,
    which end its help. ``hosted``: it may run in a process that serves several callers, because it
    takes nothing of that, never blocks it, and needs little of the processor.

    The command's callback returns a function that calls the verb, for ``root.run``, so that parsing
    is over before Trio is imported.
    """
    module, function = place.split(".")

    @click.pass_context
    def call(ctx: click.Context, **given: object) -> Callable[[], object]:
        ctx.meta[VERB] = ctx
        settings = (ctx.obj,) if connects else ()

        def act() -> object:
            return getattr(load(module), function)(*settings, **given)

        return act

    every = [*params, *(own if connects else ())]
    if example:
        # click keeps the lines of a paragraph behind "\b" as they are.
        shown = "".join(f"\n  {line}" for line in cleandoc(example).splitlines())
        form |= {"epilog": f"\b\nExamples:{shown}"}
    command = cls(function, callback=call, params=every, help=cleandoc(help_text), **form)
    setattr(command, HOSTED, hosted)
    return command
