"""Signals to penstockd as events of its loop.

A handler of Python's runs between any two of its instructions, so it does nothing here: the kernel
also writes the signal's number into a pipe, and the loop reads that between two callbacks.
"""

import os
import signal
from collections.abc import Callable

from .kernel.loop import READ, Loop


def watch_signals(loop: Loop, told: Callable[[int], None]) -> None:
    """Calls ``told`` with the number of each signal that comes.

    Of several at once those that end penstockd come last, so that the others are not lost.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
    for number in numbers:
        signal.signal(number, lambda *_: None)

    def readable() -> None:
        for number in sorted(set(os.read(read_fd, 4096)), key=_ends_all):
            told(number)

    loop.watch(read_fd, READ, readable)


def _ends_all(number: int) -> bool:
    return number in (signal.SIGTERM, signal.SIGINT)
