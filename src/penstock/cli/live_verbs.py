"""The verbs that show changes as they come: top, watch (a part of ``verbs``)."""

from typing import Final

import asyncclick as click

from .arguments import MAX_OFFSET, RECONNECT
from .verb_forms import argument, option, verb

_RECONNECT: Final = option("--reconnect", **RECONNECT)
INTERVAL: Final = option(
    "--interval",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    metavar="SECONDS",
    help="From one look at the figures to the next (2).",
)

TOP: Final = verb(
    "top.top",
    """Shows what your jobs use: CPU, memory, I/O, output, and how long a limit holds them up.

    Live on a terminal, until q; in a pipe once.
    """,
    option(
        "--sort",
        type=click.Choice(["cpu", "memory", "io", "output", "throttled", "started"]),
        default="cpu",
        help="The most of this first; keys change it.",
    ),
    INTERVAL,
    _RECONNECT,
    hosted=False,
    example="""
    penstock top
    penstock -o json top > usage.jsonl
    """,
)
WATCH: Final = verb(
    "watching.watch",
    """Prints each change of your jobs as a line, from now on or behind number SEQ, until ^C.

    With PIDs those jobs' alone. No change is left out: after a lost connection it resumes, and
    where the server cannot give all of them, it says so.
    """,
    argument("pids", metavar="[PID...]", nargs=-1),
    option(
        "--after",
        type=click.IntRange(0, MAX_OFFSET),
        metavar="SEQ",
        help="Begin behind this change, as the end of an earlier watch has it.",
    ),
    _RECONNECT,
    example="""
    penstock watch
    penstock -o json watch --after 1042
    """,
)
