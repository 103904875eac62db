"""Options that several verbs of the operator have, and how they print."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Final, TextIO

from ..policy.mistakes import FileMistake

DEFAULT_CONFIG: Final = "/etc/penstock/penstockd.toml"


def verb_parser(verb: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser whose help keeps the lines that it was given."""
    epilog = f"{epilog}\n" if epilog else ""
    return argparse.ArgumentParser(
        prog=f"penstockd {verb}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """``--config``."""
    parser.add_argument(
        "--config",
        default=DEFAULT_CONFIG,
        metavar="FILE",
        type=os.path.abspath,
        help="penstockd's configuration (default: %(default)s)",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """``-o json``."""
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json"),
        default="text",
        help="json: one object on stdout, for programs",
    )


def print_json(value: object) -> None:
    """On stdout, and on one line."""
    print(json.dumps(value))


def refuse(mistakes: Sequence[FileMistake], output: str) -> int:
    """The exit status of a verb whose files have mistakes, which are said: to programs as well, who
    could not read an empty stdout."""
    complain(mistakes)
    if output == "json":
        print_json({"ok": False, "mistakes": [asdict(each) for each in mistakes]})
    return 2


def not_done(
    lines: Iterable[object], output: str, status: int, nothing: Mapping[str, object] | None = None
) -> int:
    """As ``refuse``, of a verb that had no answer of a penstockd, or that it was refused: the
    object for programs has the same keys as its answer would have, which ``nothing`` gives."""
    texts = [str(each) for each in lines]
    complain(texts)
    if output == "json":
        print_json({"ok": False, **(nothing or {}), "mistakes": texts})
    return status


def tell(lines: Iterable[object]) -> None:
    """On stdout, a line each. What comes from files, from penstockd or from its server, which may
    have been taken over, is neither another line nor an escape sequence for root's terminal."""
    for line in lines:
        print(_shown(line, sys.stdout))


def complain(lines: Iterable[object]) -> None:
    """The same on stderr."""
    for line in lines:
        print(_shown(line, sys.stderr), file=sys.stderr)


def _shown(line: object, stream: TextIO) -> str:
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(line))
    encoding = stream.encoding or "ascii"  # of a locale without the character: escaped, too
    return text.encode(encoding, "backslashreplace").decode(encoding)
