"""What is known of a program by its name: the tables, read once (pure)."""

import re
from dataclasses import dataclass
from typing import Final

from . import program_input, program_options, program_table

SHELL: Final = "shell"
EXECUTE: Final = "execute"
READ: Final = "read"
WRITE: Final = "write"
GIVES: Final = (SHELL, EXECUTE, WRITE, READ)

# Programs that are many programs: the first argument says which one is meant.
MULTICALL: Final = frozenset({"busybox", "toybox", "coreutils", "sbase-box", "ubase-box"})

# Programs that look at the name by which they are called: where a link leads to one of these, the
# link's name says what it does.
BY_THE_NAME: Final = MULTICALL | {
    "exim4",
    "kmod",
    "lvm",
    "mtools",
    "systemctl",
    "xtables-nft-multi",
}

# Debian's names of compilers and interpreters, such as x86_64-linux-gnu-gcc-12.
_TRIPLET: Final = re.compile(r"[a-z0-9_]+-(?:[a-z0-9]+-)?linux-[a-z0-9_]+-", re.ASCII)
_BEFORE_VERSION: Final = re.compile(r"([A-Za-z][A-Za-z_+-]*?)[-._]?\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Option:
    """A word on a command line that gives ``gives``, with a value in it or behind it."""

    gives: str
    text: str


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _entries(text: str) -> dict[str, list[str]]:
    """The rest by name of lines ``names: rest``; an indented line continues the one before it."""
    found: dict[str, list[str]] = {}
    for line in text.strip().replace("\n    ", " ").splitlines():
        names, _, rest = line.partition(": ")
        for name in names.split():
            found.setdefault(name, []).append(rest)
    return found


def _by_name(text: str) -> dict[str, frozenset[str]]:
    return {name: _words(" ".join(parts)) for name, parts in _entries(text).items()}


def _options() -> dict[str, tuple[Option, ...]]:
    found = {}
    for name, parts in _entries(program_options.OPTIONS).items():
        options = []
        for part in "; ".join(parts).split("; "):
            gives, *texts = part.split()
            options += [Option(gives, text) for text in texts]
        found[name] = tuple(options)
    return found


SHELLS: Final = _words(program_table.SHELLS)
COMMAND_READERS: Final = _words(program_table.COMMAND_READERS)
WRAPPERS: Final = _words(program_table.WRAPPERS)
RUNNERS: Final = _words(program_table.RUNNERS)
READERS: Final = _words(program_table.READERS)
WRITERS: Final = _words(program_table.WRITERS)
PYTHON_MODULES: Final = _words(program_options.PYTHON_MODULES)
OPTIONS: Final = _options()
VALUED: Final = _by_name(program_options.VALUED)
COMMANDS_BY_INPUT: Final = _words(program_input.COMMANDS_BY_INPUT)
SHELL_BY_DEFAULT: Final = _words(program_input.SHELL_BY_DEFAULT)
ARGUMENTS_BY_INPUT: Final = _words(program_input.ARGUMENTS_BY_INPUT)
INTERACTIVE: Final = _by_name(program_input.INTERACTIVE)
SUBCOMMANDS: Final = _by_name(program_input.SUBCOMMANDS)
_FLAVOURS: Final = _words(program_options.FLAVOURS)
LISTED: Final = (
    SHELLS | COMMAND_READERS | WRAPPERS | RUNNERS | READERS | WRITERS | MULTICALL | OPTIONS.keys()
)


def names_of(path: str) -> frozenset[str]:
    """The names by which the tables may know a program.

    ``vim.basic`` is vim, too, ``python3.11-dbg`` and ``x86_64-linux-gnu-python3`` are python, and
    ``git-shell`` is one of git's.
    """
    base = path.rsplit("/", 1)[-1]
    plain = _TRIPLET.sub("", base, count=1) if _TRIPLET.match(base) else base
    found = {base, plain}
    found |= {name.partition(".")[0] for name in found if not name.startswith(".")}
    for name in tuple(found):
        stem, _, flavour = name.rpartition("-")
        if stem and flavour in _FLAVOURS:
            found.add(stem)
    found |= {match[1] for name in tuple(found) if (match := _BEFORE_VERSION.match(name))}
    found |= {
        of
        for prefix, of in program_options.FAMILIES.items()
        if base.startswith(prefix) or plain.startswith(prefix)
    }
    return frozenset(found - {""})
