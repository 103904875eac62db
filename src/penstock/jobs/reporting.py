"""Telling others what happens to jobs: the audit's callback, and a line for the operator."""

from collections.abc import Callable, Mapping
from typing import Final

from ..supervisor.logs.log_lines import LineWriter

LINES: Final = LineWriter(2, "penstock")
"""Standard error, whoever has it: a line on it never blocks and raises nothing."""

Audit = Callable[[str, Mapping[str, object]], None]


def try_audit(audit: Audit, event: str, fields: Mapping[str, object]) -> None:
    """What has happened cannot be refused any more; a full audit disk must not end the server."""
    try:
        audit(event, fields)
    except Exception as error:  # the callback is anybody's
        say(f"audit of {event} failed: {error}")


def say(text: str) -> None:
    """A line on standard error, if there is anybody who takes it."""
    LINES.write(f"penstock: {text}")
