"""The supervisor's log: lines on standard error, which the process that started it may keep."""

import sys
from typing import Final

from .log_lines import LineStream, LineWriter

LINES: Final = LineWriter(2, "penstockd")


def log(text: str) -> None:
    """Writes one line. Never blocks and raises nothing: see log_lines.py."""
    LINES.write(f"penstockd: {text}")


def log_of_server(text: str) -> None:
    """Writes one line of the server's, so that it cannot look like one of the supervisor's."""
    LINES.write(text if text.startswith("penstock: ") else f"penstock: {text}")


def take_over_stderr() -> None:
    """Leads what Python itself prints, tracebacks too, into the log from now on."""
    sys.stderr = LineStream(log)
