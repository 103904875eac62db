"""Signals by name or number, as policies and requests write them (pure)."""

import signal
from typing import Final

MOST: Final = 64  # _NSIG of Linux; numbers above SIGSYS are the real-time ones
_LONGEST: Final = 16


def parse_signal(text: str) -> int:
    """The number of ``"TERM"``, ``"SIGTERM"`` or ``"15"``. Raises ValueError."""
    if text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= MOST:
        return int(text)
    name = text.removeprefix("SIG")
    known = signal.Signals.__members__.get(f"SIG{name}")
    if known is None or len(text) > _LONGEST:
        raise ValueError(f"{text[:_LONGEST]!r} is no signal")
    return int(known)


def signal_name(number: int) -> str:
    """``TERM`` for 15; a number without a name as it is."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
