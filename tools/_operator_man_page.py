"""The man page penstockd(8), made of the parsers of the operator's verbs."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from _man_page import escaped, item, paragraphs

from penstock.operate.verb_table import VERBS, verb_module

ROOT = Path(__file__).resolve().parent.parent
OPERATOR_PAGE = ROOT / "man" / "penstockd.8"
_FRONT = """\
.\\" Written by tools/gen_man from the parsers of the verbs: edit those.
.TH PENSTOCKD 8 "" penstock "System Administration"
.SH NAME
penstockd \\- runs granted commands for clients that must not get a shell
.SH SYNOPSIS
.B penstockd
.RI [ run ]
.B \\-\\-config
.I FILE
.br
.B penstockd
.I VERB
.RI [ ARGUMENT " ...]"
"""
_DESCRIPTION = """\
Without a verb, or with run, it serves in the foreground until SIGTERM: as root it is the
supervisor, which starts the server as server_user and jobs as users of their own; started by an
ordinary user everything runs as that user, without limits and separation. FILE is the
configuration, which names the policy.

With another verb it is a tool of the operator's, which ends when it has said what it has to say."""
_SIGNALS = (
    (
        "SIGTERM, SIGINT",
        "The server drains, jobs are stopped. A second one ends it at once.",
    ),
    ("SIGHUP", "Files are read again while jobs run, and the audit log is opened anew."),
    ("SIGUSR2", "The server is started anew while jobs run on, as for a new version."),
)
_STATUSES = (
    ("0", "It was stopped."),
    ("1", "It was without a server for too long, or a job did not die."),
    ("2", "It could not start; every mistake is on stderr."),
)
_FILES = (
    ("/etc/penstock/penstockd.toml", "The configuration, for verbs without --config."),
    ("/run/penstock/control.sock", "Where reload and status ask: run_dir of the configuration."),
)


def operator_man_page() -> str:
    """The whole page, as roff."""
    return "".join(
        [
            _FRONT,
            ".SH DESCRIPTION\n",
            *paragraphs(_DESCRIPTION),
            ".SH VERBS\n",
            *(part for name in VERBS for part in _verb(name)),
            ".SH SIGNALS\n",
            *paragraphs("Of the one that serves:"),
            *(item(f"\\fB{name}\\fR", text) for name, text in _SIGNALS),
            ".SH EXIT STATUS\n",
            *paragraphs("Of the one that serves; each verb has its own, above."),
            *(item(f"\\fB{name}\\fR", text) for name, text in _STATUSES),
            ".SH FILES\n",
            *(item(f"\\fI{escaped(name)}\\fR", text) for name, text in _FILES),
            ".SH SEE ALSO\n",
            *paragraphs(
                "penstock(1); the pages of the project's docs directory: install.md, "
                "operations.md, policy.md, policy-cookbook.md."
            ),
        ]
    )


def _verb(name: str) -> Iterator[str]:
    parser = verb_module(name).parser()
    usage = " ".join(parser.format_usage().split()).removeprefix(f"usage: penstockd {name} ")
    yield f".SS {escaped(name)}\n"
    yield f".B penstockd {escaped(name)}\n"
    yield f"{escaped(usage.removeprefix('[-h] '))}\n"
    yield ".PP\n"
    yield from paragraphs(parser.description or "")
    for action in parser._actions:
        if "-h" not in action.option_strings:
            yield _option(action)
    yield from _epilog(parser.epilog or "")


def _option(action: argparse.Action) -> str:
    names = action.option_strings or [str(action.metavar)]
    tag = ", ".join(f"\\fB{escaped(each)}\\fR" for each in names)
    if action.option_strings and action.nargs != 0:
        value = action.metavar or "|".join(map(str, action.choices or ()))
        tag += f" \\fI{escaped(str(value))}\\fR"
    return item(tag, (action.help or "") % {"default": action.default})


def _epilog(text: str) -> Iterator[str]:
    """Paragraphs, and lines indented by two as they are."""
    for paragraph in text.rstrip().split("\n\n"):
        if paragraph.startswith("  "):
            lines = "".join(f"{escaped(line[2:])}\n" for line in paragraph.splitlines())
            yield f".PP\n.RS 4\n.EX\n{lines}.EE\n.RE\n"
        else:
            yield from (".PP\n", *paragraphs(paragraph))
