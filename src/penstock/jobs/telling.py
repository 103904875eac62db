"""Telling others what happens to jobs: the audit's callback, and a line for the operator."""

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

Audit = Callable[[str, Mapping[str, Any]], None]


def try_audit(audit: Audit, event: str, fields: Mapping[str, Any]) -> None:
    """What has happened cannot be refused any more; a full audit disk must not end the server."""
    try:
        audit(event, fields)
    except Exception as error:  # the callback is anybody's
        say(f"audit of {event} failed: {error}")


def say(text: str) -> None:
    """A line on standard error, if there is anybody who takes it."""
    with contextlib.suppress(OSError):
        os.write(2, f"penstock: {text}\n".encode())
