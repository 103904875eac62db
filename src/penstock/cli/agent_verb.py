"""What can be typed behind ``penstock agent`` (as ``verbs``)."""

from typing import Final

import asyncclick as click

from .verb_forms import CONTEXT_BEHIND, OUTPUT_BEHIND, verb

AGENT: Final = verb(
    "agent_process.agent",
    """Says what the agent holds, ends it, or is it: it keeps connections for short verbs.

    There is one for each context that is named, which begins by itself on a terminal, and ends when
    it is not used for 10 minutes. Without it: --no-agent, PENSTOCK_AGENT=off.
    """,
    click.Argument(
        ["action"],
        type=click.Choice(["status", "stop", "run"]),
        default="status",
        metavar="[status|stop|run]",
    ),
    own=(OUTPUT_BEHIND, CONTEXT_BEHIND),
    hosted=False,
    example="""
    penstock agent
    penstock agent stop
    """,
)
