"""Options that several verbs of the operator have, and how they print."""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from typing import Final

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


def complain(lines: Iterable[object]) -> None:
    """On stderr, a line each, also of a path with a newline or an escape sequence in its name."""
    for line in lines:
        shown = (each if each.isprintable() else ascii(each)[1:-1] for each in str(line))
        print("".join(shown), file=sys.stderr)
