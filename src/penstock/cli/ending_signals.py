"""Which signals end this program, and what they do where no verb has caught them.

Nothing but the standard library's smallest modules is imported here: this runs before
everything else, so that an interrupt during the imports that follow shows no traceback. Python
would raise KeyboardInterrupt inside of whatever is being imported; and HUP, QUIT and the others
would end the process without a word once a verb is under way. Verbs catch all of these with
``signals.caught_signals``; before, between and after verbs ``leave`` ends the process.
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
"""Somebody wants this program to end: ``run`` asks its job to stop, too."""

_NOT_CAUGHT: Final = frozenset(
    (
        *(signal.SIGKILL, signal.SIGSTOP),  # cannot be
        # Stand still until CONT, as a shell's user expects of ^Z.
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
        *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH),  # end nothing
        # Python ignores them: the write that failed says so (EPIPE, EFBIG).
        *(signal.SIGPIPE, signal.SIGXFSZ),
        # Faults of this process: a handler of Python's would come back to the fault for ever.
        *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV),
        *(signal.SIGSYS, signal.SIGTRAP),
    )
)


def ending_signals() -> list[int]:
    """Those that would end this process and can be caught, real-time ones included. One that
    was ignored when the process began (``nohup``, a shell's background job) is not among them:
    it stays ignored."""
    return sorted(
        number
        for number in signal.valid_signals() - _NOT_CAUGHT
        if signal.getsignal(number) is not signal.SIG_IGN
    )


def hangs_up() -> bool:
    """Whether a terminal that is gone ends this process: not where HUP is ignored (``nohup``)."""
    return signal.SIGHUP in ending_signals()


def leave(number: int, _: FrameType | None) -> NoReturn:
    """Ends the process at once, with the status of the signal. Nothing is buffered here."""
    os._exit(SIGNAL_BASE + number)


def _raise(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(SIGNAL_BASE + number)


def take_signals() -> None:
    """From now on such a signal calls ``leave``. Main thread only."""
    _handle(leave)


@contextmanager
def raising_signals() -> Iterator[None]:
    """Inside, such a signal raises SystemExit, also out of a system call that waits.

    For what blocks outside of Trio and has something to put right when it is interrupted: a
    question at the terminal has turned its echo off. Main thread only.
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
