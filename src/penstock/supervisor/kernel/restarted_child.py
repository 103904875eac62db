"""A helper process that is started again if something ends it."""

import os
import select
import signal
from collections.abc import Callable
from typing import Final

from .loop import READ, Loop
from .reap import disown, reap_ended

AGAIN_S: Final = 1.0


class RestartedChild:
    """From ``start`` to ``end``. Nothing waits for it but ``end``.

    ``fork_child`` gives the pid of a new one, and never returns in it; it may raise OSError.
    ``log`` is given why there is none for a moment: "cannot be started: …", or "has ended".
    """

    def __init__(
        self, loop: Loop, fork_child: Callable[[], int], log: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._fork_child = fork_child
        self._log = log
        self._wanted = False
        self._pid = 0
        self._pidfd = -1

    def start(self) -> None:
        """Makes one. If that fails, it is logged and tried again."""
        self._wanted = True
        try:
            self._pid = self._fork_child()
            try:
                self._pidfd = os.pidfd_open(self._pid)
            except OSError:  # out of descriptors, so its end could not be seen
                os.kill(self._pid, signal.SIGKILL)
                disown(self._pid)
                raise
        except OSError as error:
            self._start_again(f"cannot be started: {error.strerror}")
            return
        self._loop.watch(self._pidfd, READ, self._ended)

    def end(self, most_s: float, *, kill: bool = False) -> None:
        """No other one is started. Waits ``most_s`` for the end of this one."""
        self._wanted = False
        if self._pidfd < 0:
            return
        self._loop.forget(self._pidfd)
        if kill:
            os.kill(self._pid, signal.SIGKILL)  # not reaped yet, so the pid is still its own
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(most_s * 1000)
        os.close(self._pidfd)
        self._pidfd = -1
        os.waitpid(self._pid, os.WNOHANG)

    def _ended(self) -> None:
        self._loop.forget(self._pidfd)
        reap_ended(self._loop, self._pid, self._reaped)

    def _reaped(self, *_: object) -> None:
        os.close(self._pidfd)
        self._pidfd = -1
        self._start_again("has ended")

    def _start_again(self, why: str) -> None:
        self._log(f"{why}; again in {AGAIN_S:g} s")

        def start() -> None:
            if self._wanted:
                self.start()

        self._loop.after(AGAIN_S, start)
