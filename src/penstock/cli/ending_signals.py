"""Which signals end this program, and what they do where no verb has caught them.

Imports only the standard library's smallest modules, because it runs before everything else,
so that an interrupt during the imports that follow shows no traceback. Python would otherwise
raise KeyboardInterrupt inside of the module being imported; and HUP, QUIT and the others
would end the process without a message once a verb is under way. Verbs catch all of these with
``signal_handling.caught_signals``; before, between and after verbs ``leave`` ends the process.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

SIGNAL_BASE: Final = 128
"""What a shell adds to a signal's number to make an exit status of it."""

HUNG_UP: Final = SIGNAL_BASE + signal.SIGHUP
"""The exit status where the terminal is gone."""

ASKING: Final = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))
"""A user or another process wants this program to end: ``run`` asks its job to stop, too."""

_NOT_CAUGHT: Final = frozenset(
    (
        *(signal.SIGKILL, signal.SIGSTOP),  # cannot be caught
        # Stand still until CONT, as a shell's user expects of ^Z.
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
        *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH),  # end nothing
        # Ignored by Python, because the write that fails reports it (EPIPE, EFBIG).
        *(signal.SIGPIPE, signal.SIGXFSZ),
        # Faults of this process, because a handler of Python's would return to the fault for ever.
        *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV),
        *(signal.SIGSYS, signal.SIGTRAP),
    )
)


def ending_signals() -> list[int]:
    """The numbers that would end this process and can be caught, real-time ones included. Not
    one that was ignored when the process began (``nohup``, a shell's background job), so that it
    stays ignored."""
    return sorted(
        number
        for number in signal.valid_signals() - _NOT_CAUGHT
        if signal.getsignal(number) is not signal.SIG_IGN
    )


def leave(number: int, _: FrameType | None) -> NoReturn:
    """Ends the process at once, with the status of the signal. Flushes nothing, because
    nothing is buffered here."""
    os._exit(SIGNAL_BASE + number)


def _raise(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(SIGNAL_BASE + number)


def take_signals() -> None:
    """Makes ``leave`` the handler of each ending signal. Main thread only."""
    _handle(leave)


@contextmanager
def raising_signals() -> Iterator[None]:
    """Inside, such a signal raises SystemExit, also out of a system call that waits.

    For code that blocks outside of Trio and must clean up when it is interrupted, because a
    question at the terminal, for example, has turned its echo off. Main thread only.
    """
    before = {number: signal.getsignal(number) for number in ending_signals()}
    _handle(_raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    for number in ending_signals():
        signal.signal(number, handler)
