"""``penstockd policy explain``: which rule and slot of a policy decide about a command line."""

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import asdict

from ..policy.cases import parse_line
from ..policy.explanation import Explanation, SlotUse, TriedStart, explain
from ..policy.mistakes import FileMistake
from ..policy.policy_file import Command
from .policy_options import PolicyText, add_policy, read_policy_text
from .verb_options import add_output, complain, print_json, refuse, tell, verb_parser

_DESCRIPTION = """\
Says whether a policy grants a command line to a client, by which rule, and which slot of the
grammar takes each argument, or could have taken the one that none takes. Nothing is started, and
nothing of this host is looked at: whether a path exists, say, is found out at the start."""
_EPILOG = """\
--env NAME=VALUE and --stdin may stand before the command.

exit status: 0, granted; 1, denied; 2, mistakes in the file

  penstockd policy explain policy.toml --client alice -- logs -n 20 dpkg.log"""


def parser() -> argparse.ArgumentParser:
    """Its options."""
    found = verb_parser("policy explain", _DESCRIPTION, _EPILOG)
    add_policy(found)
    found.add_argument("--client", required=True, metavar="ID", help="who would ask")
    add_output(found)
    found.usage = "penstockd policy explain POLICY --client ID [-o json] -- COMMAND ..."
    return found


def run(options: argparse.Namespace) -> int:
    """Prints who, what and why. Exit status: 1 if it is denied."""
    refused: list[FileMistake] = []
    text = read_policy_text(options.policy, refused)
    if text is None:
        return refuse(refused, options.output)
    try:
        start = parse_line(options.behind)
    except ValueError as error:
        complain([f"penstockd policy explain: {error}"])
        return 2
    found = explain(text.policy, options.client, start)
    if options.output == "json":
        print_json(_record(found, text))
    else:
        tell(_lines(found, start, text))
    return 0 if found.granted else 1


def _lines(found: Explanation, start: TriedStart, text: PolicyText) -> Iterator[str]:
    yield f"{'granted' if found.granted else 'denied'}: {found.message}"
    if found.rule:
        yield f"  by          {text.at(found.rule)}"
    command = text.policy.commands.get(start.command)
    if found.granted and command is not None:
        yield from _granted(found, command)
    for number, use in enumerate(found.slots, 1):
        yield _slot(f"argument {number}", use, text)
    for use in found.open:
        yield _slot("possible", use, text)


def _granted(found: Explanation, command: Command) -> Iterator[str]:
    yield f"  runs        {shlex.join(found.argv)}"
    timeout = f", for at most {command.timeout_s:g} s" if command.timeout_s is not None else ""
    yield f"  as          user {command.user}, class {command.class_name}{timeout}"


def _slot(what: str, use: SlotUse, text: PolicyText) -> str:
    taken = f"{use.argument!r} is " if use.argument is not None else ""
    return f"  {what:11} {taken}{use.meaning}: {text.at(use.key)}"


def _record(found: Explanation, text: PolicyText) -> dict[str, object]:
    lined = [{**asdict(use), "line": text.line_of(use.key)} for use in (*found.slots, *found.open)]
    return {
        "granted": found.granted,
        "message": found.message,
        "rule": found.rule,
        "file": text.path,
        "line": text.line_of(found.rule) if found.rule else None,
        "argv": list(found.argv),
        "slots": lined[: len(found.slots)],
        "open": lined[len(found.slots) :],
    }
