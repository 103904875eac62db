"""whoami, commands and can: what can be typed about what is granted (declarations)."""

from typing import Final

import asyncclick as click

from .arguments import PASS_ON
from .start_options import ENV
from .verb_forms import (
    CONNECT_TIMEOUT_BEHIND,
    CONTEXT_BEHIND,
    OUTPUT_BEHIND,
    argument,
    option,
    verb,
)

WHOAMI: Final = verb(
    "whoami.whoami",
    """Says as which client the server knows us, what we may do, and how much of it is used.

    Warns if our certificate ends within two weeks.
    """,
    example="""
    penstock whoami
    penstock -o json whoami
    """,
)
COMMANDS: Final = verb(
    "commands.commands",
    """Lists the commands that we may start, or says all of NAME: its arguments, limits, keys.

    A usage line says what may be typed: [-l] may be left out, (a|b) is one of these, {1,4} is how
    many times, and a word in capitals is explained below it.
    """,
    argument("command", metavar="[NAME]", required=False, default=""),
    option("-q", "--quiet", is_flag=True, help="Names alone."),
    option("--no-trunc", is_flag=True, help="Whole lines on a terminal, too."),
    example="""
    penstock commands
    penstock commands backup
    """,
)
CAN_START: Final = verb(
    "can.can_start",
    """Says whether we may start COMMAND with these arguments; starts nothing.

    Exits with 0 for "yes", and as the start would for "no", 5 where the policy does not grant it,
    with the same words and the key of the policy. Quotas are not looked at.
    """,
    option("--stdin", is_flag=True, help="With its standard input open."),
    option("-e", "--env", **ENV),
    option("-q", "--quiet", is_flag=True, help="Print nothing; the exit status says it."),
    argument("command"),
    argument("arguments", nargs=-1),
    context_settings=PASS_ON,
    example="""
    penstock can start backup /srv
    penstock can start -q backup /srv && penstock start backup /srv
    """,
)
CAN: Final = click.Group(
    "can",
    {"start": CAN_START},
    params=[OUTPUT_BEHIND, CONNECT_TIMEOUT_BEHIND, CONTEXT_BEHIND],
    help="Asks whether something is granted, without doing it.",
)
