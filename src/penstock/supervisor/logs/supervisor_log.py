"""The supervisor's log: lines on standard error, for whoever keeps them, if anybody does."""

import sys
from typing import Final

from .log_lines import LineStream, LineWriter

LINES: Final = LineWriter(2, "penstockd")


def log(text: str) -> None:
    """One line. Never blocks and raises nothing: see log_lines.py."""
    LINES.write(f"penstockd: {text}")


def log_of_server(text: str) -> None:
    """One line that the server has written: it cannot look like one of ours."""
    LINES.write(text if text.startswith("penstock: ") else f"penstock: {text}")


def take_over_stderr() -> None:
    """From now on what Python itself says, tracebacks too, goes into the log and no other way."""
    sys.stderr = LineStream(log)
