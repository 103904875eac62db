"""context ls, and how a context is shown. Waits for nothing, so it needs no Trio."""

import json

from .context_file import contexts_path, read_contexts
from .error_report import report_error
from .failures import Exit
from .flags import Settings
from .standard import complain, say
from .terminal import harmless
from .user_contexts import Context, Contexts


def ls(settings: Settings, quiet: bool) -> int:
    """A context a line; returns 2 if the file names one that is not there."""
    contexts = read_contexts(contexts_path()) or Contexts(contexts_path())
    for note in contexts.unknown_keys():
        complain(harmless(note))
    if settings.json:
        for name in contexts.named:
            say(context_json(contexts, name))
    elif quiet:
        for name in contexts.named:
            say(name)
    else:
        _say_table(contexts)
    wrong = contexts.wrong_names()
    for mistake in wrong:
        report_error(harmless(mistake), Exit.USAGE, code="INVALID_ARGUMENT", reason="SETTINGS")
    return Exit.USAGE if wrong else Exit.OK


def _say_table(contexts: Contexts) -> None:
    rows = [("", "NAME", "ADDRESS", "CERTIFICATE", "GROUPS")]
    for name, context in contexts.named.items():
        mark = "*" if name == contexts.current else ""
        certificate = context.values.get("certificate", "-")
        groups = ",".join(context.groups) or "-"
        rows.append((mark, name, address_of(context), certificate, groups))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        say(harmless(" ".join(cells).rstrip()))


def address_of(context: Context) -> str:
    """As it is written; "-" if it is not set."""
    return context.values.get("address", "-")


def context_json(contexts: Contexts, name: str) -> str:
    """One object; what is not set is left out, as in protobuf's JSON."""
    context = contexts.named[name]
    shown: dict[str, object] = {"name": name, **context.values}
    if context.groups:
        shown["groups"] = list(context.groups)
    if contexts.current == name:
        shown["current"] = True
    return json.dumps(shown)
