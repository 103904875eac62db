"""How the library reports what happens to jobs: the audit's callback, a line for the operator."""

from collections.abc import Callable, Mapping
from typing import Final

from ..supervisor.logs.log_lines import LineWriter

LINES: Final = LineWriter(2, "penstock")
"""Standard error, to wherever it leads: a line on it never blocks and raises nothing."""

Audit = Callable[[str, Mapping[str, object]], None]


def try_audit(audit: Audit, event: str, fields: Mapping[str, object]) -> None:
    """Audits what has happened already. Logs instead of raising, because it cannot be refused any
    more, and a full audit disk must not end the server."""
    try:
        audit(event, fields)
    except Exception as error:  # the callback is the embedder's, so it can raise anything
        say(f"audit of {event} failed: {error}")


def say(text: str) -> None:
    """A line on standard error; dropped, instead of blocking, where no reader takes it."""
    LINES.write(f"penstock: {text}")
