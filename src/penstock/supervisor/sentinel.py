"""The child that ends every job if supervisor and server are killed at once.

Usually one of them outlives the other: the supervisor restarts a server, and a server holds a
descriptor of each group's cgroup.kill. With both killed at once no process would be left that ends
the jobs. So there is a third, which does nothing else (sentinel_main.py). Without cgroups each
job's keeper does the same.
"""

import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import Final

from .cgroups import Hierarchy
from .job.spawn import reset_signals
from .kernel.loop import READ, Loop
from .kernel.reap import disown, fork, reap_ended
from .logs.supervisor_log import log
from .sentinel_main import IGNORED

_PROGRAM: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sentinel_main.py")
_AGAIN_S: Final = 1.0
# How long its end is waited for after KILL; only a tracer can make it take longer.
_END_MS: Final = 1000


class Sentinel:
    """The sentinel's process: started, and started again if something ends it, until ``end``."""

    def __init__(self, loop: Loop, hierarchy: Hierarchy, lock_fd: int) -> None:
        """``lock_fd`` is of the parent group."""
        self._loop = loop
        self._hierarchy = hierarchy
        self._lock_fd = lock_fd
        self._pid = 0
        self._pidfd = -1

    def start(self) -> None:
        """Forks and executes it. If that fails, it is logged and tried again."""
        fds: list[int] = []
        try:
            fds.append(os.pidfd_open(os.getpid()))
            kill_fd = self._hierarchy.kill_fd()
            fds += [] if kill_fd is None else [kill_fd]
            self._pid = fork()
            if self._pid == 0:
                _execute(
                    [fds[0], -1 if kill_fd is None else kill_fd, self._lock_fd],
                    self._hierarchy.kill_directory(),
                )
            try:
                self._pidfd = os.pidfd_open(self._pid)
            except OSError:
                os.kill(self._pid, signal.SIGKILL)
                disown(self._pid)
                raise
        except OSError as error:
            self._start_again(f"cannot be started: {error.strerror}")
            return
        finally:
            for fd in fds:
                os.close(fd)
        self._loop.watch(self._pidfd, READ, self._ended)

    def end(self) -> None:
        """Ends it: no job is left, or everything was done for them that could be done."""
        if self._pidfd < 0:
            return
        self._loop.forget(self._pidfd)
        os.kill(self._pid, signal.SIGKILL)  # not reaped yet, so the pid is still its own
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(_END_MS)
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
        log(f"the process that ends jobs if this one is killed {why}; again in {_AGAIN_S:g} s")
        self._loop.after(_AGAIN_S, self.start)


def _execute(fds: Sequence[int], directory: str) -> None:
    """In the child. Never returns."""
    try:
        os.setsid()  # so that a signal to the supervisor's session or group does not reach it
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        kept = sorted(fd for fd in fds if fd >= 0)
        low = 3
        for fd in kept:
            os.closerange(low, fd)
            os.set_inheritable(fd, True)
            low = fd + 1
        os.closerange(low, os.sysconf("SC_OPEN_MAX"))
        reset_signals()
        for number in IGNORED:  # exec keeps this, so there is no moment at which one would end it
            signal.signal(number, signal.SIG_IGN)
        os.chdir("/")
        words = [sys.executable, "-I", "-S", "-E", _PROGRAM, *(str(fd) for fd in fds), directory]
        os.execve(words[0], words, {"LANG": "C.UTF-8"})
    finally:
        os._exit(127)
