"""The man page penstock(1), made of the verbs' declarations and of docs/cli.md's exit statuses.

One page for all verbs, because they share options, environment and exit statuses, which a page for
each would repeat or send the reader away for.
"""

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import asyncclick as click

from penstock.cli.root import root
from penstock.cli.verbs import ALIASES, VERBS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "man" / "penstock.1"
_SUMMARY = "runs granted commands on a server"
_FRONT = """\
.\\" Written by tools/gen_man from the declarations of the verbs: edit those.
.TH PENSTOCK 1 "" penstock "User Commands"
.SH NAME
penstock \\- """
_SYNOPSIS = """\
.SH SYNOPSIS
.B penstock
.RI [ OPTION " ...] " VERB " [" ARGUMENT " ...]"
"""
_ENVIRONMENT = (
    ("PENSTOCK_ADDR", "The server, as --addr."),
    ("PENSTOCK_CA", "The CA of the server, as --ca."),
    ("PENSTOCK_CERT", "Our certificate, as --cert."),
    ("PENSTOCK_KEY", "Its private key, as --key."),
    ("PENSTOCK_KEY_PASSPHRASE_FILE", "A file that holds the key's passphrase."),
    ("PENSTOCK_KEY_PASSPHRASE", "The key's passphrase itself."),
    ("PENSTOCK_SERVER_NAME", "The name in the server's certificate, as --server-name."),
    ("PENSTOCK_SERVER_FINGERPRINT", "That certificate's SHA-256, as --server-fingerprint."),
    ("PENSTOCK_CA_PASSPHRASE_FILE", "A file that holds the passphrase of ca.key."),
    ("PENSTOCK_CA_PASSPHRASE", "The passphrase of ca.key itself."),
    ("PENSTOCK_CONTEXT", "The context, as --context."),
    ("PENSTOCK_AGENT", "on: the agent also where there is no terminal; any other word: none."),
    ("XDG_RUNTIME_DIR", "Where the agent listens; there is none without."),
    ("XDG_CONFIG_HOME", "Where penstock/contexts.toml is; ~/.config without."),
    ("NO_COLOR", "If it is set, nothing is coloured."),
    ("CLICOLOR", "0: nothing is coloured."),
    ("CLICOLOR_FORCE, FORCE_COLOR", "If one is set, and not 0, colours are used in a pipe, too."),
    ("PENSTOCK_HISTORY", "off: the shell keeps no history."),
    ("XDG_STATE_HOME", "Where penstock/history is, the shell's; ~/.local/state without."),
    ("XDG_CACHE_HOME", "Where completion keeps for seconds what a server has answered."),
)

# The global options that may stand behind every verb that asks a server, declared once for all.
_EVERYWHERE = [each for each in VERBS["status"].params if (each.name or "").startswith("own_")]


def man_page() -> str:
    """The whole page, as roff."""
    return "".join(
        [
            f"{_FRONT}{escaped(_SUMMARY)}\n",
            _SYNOPSIS,
            ".SH DESCRIPTION\n",
            *paragraphs(root.help or ""),
            ".SH OPTIONS\n",
            *paragraphs(f"In front of the verb; of these {_behind()} also behind it."),
            *_options(root),
            ".SH VERBS\n",
            *_verbs(VERBS, ()),
            ".SH ENVIRONMENT\n",
            *(item(f"\\fB{name}\\fR", text) for name, text in _ENVIRONMENT),
            ".SH EXIT STATUS\n",
            *_statuses(),
            ".SH SEE ALSO\n",
            *paragraphs(
                "The pages of the project's docs directory: cli.md, policy.md, install.md."
            ),
        ]
    )


def _behind() -> str:
    """The names of the global options that every verb takes as well."""
    return " and ".join(option.opts[0] for option in _EVERYWHERE)


def escaped(text: str) -> str:
    """Text of one line that roff shows as it is."""
    # "-" would become a hyphen, which nobody can paste into a shell; "'" a closing quote.
    shown = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    shown = shown.replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    return f"\\&{shown}" if shown.startswith(".") else shown


def _verbs(verbs: dict[str, click.Command], path: tuple[str, ...]) -> Iterator[str]:
    for name, verb in verbs.items():
        if name in ALIASES or verb.hidden:
            continue
        names = (*path, name)
        if isinstance(verb, click.Group):
            yield from _verbs(verb.commands, names)
            continue
        yield f".SS {escaped(' '.join(names))}\n"
        yield f".B penstock {escaped(' '.join(names))}\n"
        yield f".RI {escaped(_usage(verb))}\n" if _usage(verb) else ""
        others = [alias for alias, each in VERBS.items() if alias in ALIASES and each is verb]
        yield from paragraphs(verb.help or "", first=".PP\n")
        if others:
            yield f".PP\nAlso: \\fB{escaped(', '.join(others))}\\fR.\n"
        yield from _options(verb)
        yield from _examples(verb)


def _usage(verb: click.Command) -> str:
    """As --help shows it, for a macro that changes the font at each word."""
    shown = []
    if any(isinstance(each, click.Option) for each in verb.params):
        shown.append('"[" OPTION "] ..."')
    for each in verb.params:
        if isinstance(each, click.Argument):
            name = (each.metavar or (each.name or "").upper()).strip("[]").removesuffix("...")
            more = " ..." if each.nargs == -1 else ""
            text = f'{name} "{more}"' if more else name
            shown.append(text if each.required else f'"[" {name} "{more}]"')
    return ' " " '.join(shown)


def _options(verb: click.Command) -> Iterator[str]:
    for each in verb.params:
        if not isinstance(each, click.Option) or each.hidden or each in _EVERYWHERE:
            continue
        names = ", ".join(f"\\fB{escaped(name)}\\fR" for name in each.opts)
        flag = each.is_flag or each.count
        value = "" if flag else f" \\fI{escaped(_value(each))}\\fR"
        text = each.help or ""
        if each.show_default:
            text = f"{text} Without: {each.default}.".strip()
        yield item(f"{names}{value}", text)


def _value(option: click.Option) -> str:
    if option.metavar:
        return str(option.metavar)
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return str(option.type.name).upper()


def _examples(verb: click.Command) -> Iterator[str]:
    """Of the epilog: lines behind the "\\b" that keeps them apart, indented by two."""
    lines = cleandoc(verb.epilog or "").splitlines()[2:]
    if lines:
        shown = "".join(f"{escaped(line.removeprefix('  '))}\n" for line in lines)
        yield f".PP\nExamples:\n.PP\n.RS 4\n.EX\n{shown}.EE\n.RE\n"


def paragraphs(text: str, first: str = "") -> Iterator[str]:
    """What stands between empty lines, each as roff fills it; ``first`` is before all."""
    for index, paragraph in enumerate(cleandoc(text).split("\n\n")):
        yield ".PP\n" if index else first
        yield f"{escaped(' '.join(paragraph.split()))}\n"


def item(tag: str, text: str) -> str:
    """A tag, in roff, and what it means."""
    return f".TP\n{tag}\n{escaped(' '.join(text.split())) or chr(92) + '&'}\n"


def _statuses() -> Iterator[str]:
    """The table of docs/cli.md: status, what it means, what it means where a job's is passed on."""
    text = (ROOT / "docs" / "cli.md").read_text()
    table = text.partition("| exit status |")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        status, control, passed = (cell.strip() for cell in line.strip("|").split("|"))
        parts = [control, f"run, attach, wait, stream --exit-code: {passed}" if passed else ""]
        shown = re.sub("`", "", "; ".join(filter(None, parts)))
        yield item(f"\\fB{escaped(status)}\\fR", f"{shown[:1].upper()}{shown[1:]}.")
