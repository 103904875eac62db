"""Which verbs ``penstockd`` has, and where each one is; a verb's module is imported when called.

A module of a verb has two functions: ``parser()``, an argparse.ArgumentParser of its words, and
``run(options)``, which returns the exit status: 0 good, 1 not (what that is each verb says), 2 for
mistakes, of usage or of files, which are on stderr.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple, Protocol

from .. import __version__


class OperatorVerb(NamedTuple):
    """``module`` is one of this package's. ``takes_command``: words behind ``--`` are its own, as
    ``behind`` of its options."""

    module: str
    summary: str
    takes_command: bool = False


class VerbModule(Protocol):
    """What each verb's module has."""

    def parser(self) -> argparse.ArgumentParser:
        """What its words may be."""

    def run(self, options: argparse.Namespace) -> int:
        """Does it. Returns the exit status."""


VERBS: Final = {
    "check": OperatorVerb("check_verb", "every mistake of the files, before they count"),
    "policy test": OperatorVerb("policy_test_verb", "a policy against a table of cases"),
    "policy explain": OperatorVerb(
        "policy_explain_verb", "which rule and slot decide, and how", takes_command=True
    ),
    "reload": OperatorVerb("reload_verb", "have a running penstockd take its files up"),
    "status": OperatorVerb("status_verb", "what a running penstockd has in force"),
    "doctor": OperatorVerb("doctor_verb", "what this host can hold jobs to, and what to do"),
}
_HEAD: Final = """\
usage: penstockd [run] --config FILE
       penstockd VERB ...

Runs granted commands for clients, in the foreground, until SIGTERM; or, with a verb:

"""
_TAIL: Final = """
penstockd VERB --help says more. docs/operations.md is the operator's page.
"""


def overview() -> str:
    """What ``penstockd --help`` prints."""
    width = max(map(len, VERBS)) + 2
    return _HEAD + "".join(f"  {n:{width}}{v.summary}\n" for n, v in VERBS.items()) + _TAIL


def verb_module(name: str) -> VerbModule:
    """The module of a verb of VERBS."""
    module: VerbModule = import_module(f"{__package__}.{VERBS[name].module}")
    return module


def call_verb(words: Sequence[str]) -> int:
    """Runs the verb that the first word, or the first two, name. Returns the exit status."""
    if not words or words[0] in ("-h", "--help"):
        print(overview(), end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        print(f"penstockd {__version__}")
        return 0
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in VERBS and len(words) >= count:
            return _run(name, list(words[count:]))
    return _unknown(words)


def _run(name: str, words: list[str]) -> int:
    module = verb_module(name)
    behind: list[str] = []
    if VERBS[name].takes_command and "--" in words:
        # Not left to argparse, which takes options wherever they stand.
        place = words.index("--")
        words, behind = words[:place], words[place + 1 :]
    parser = module.parser()
    options, left = parser.parse_known_args(words, argparse.Namespace(behind=behind))
    if left and VERBS[name].takes_command and not behind:
        parser.error(f"write -- before the command, so that its options are its own: -- {left[0]}")
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    return module.run(options)


def _group_help(group: str, names: Sequence[str]) -> str:
    width = max(map(len, names)) + 2
    lines = [f"usage: penstockd {group} VERB ...\n\n"]
    lines += [f"  {name:{width}}{VERBS[name].summary}\n" for name in names]
    return "".join(lines) + f"\npenstockd {group} VERB --help says more.\n"


def _unknown(words: Sequence[str]) -> int:
    grouped = [name for name in VERBS if name.startswith(f"{words[0]} ")]
    if grouped and words[1:2] in (["-h"], ["--help"]):
        print(_group_help(words[0], grouped), end="")
        return 0
    if grouped:
        text = f"penstockd {words[0]} needs a second word: {' or '.join(grouped)}"
    else:
        close = difflib.get_close_matches(words[0], {name.split(" ")[0] for name in VERBS}, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are run, {', '.join(VERBS)}"
        text = f"penstockd has no verb {words[0]!r}; {hint}"
    print(text, file=sys.stderr)
    return 2
