"""The child that ends every job if supervisor and server are killed at once.

Usually one of them outlives the other: the supervisor restarts a server, and a server holds a
descriptor of each group's cgroup.kill. With both killed at once no process would be left that ends
the jobs. So there is a third, which does nothing else (sentinel_main.py). Without cgroups each
job's subreaper does the same.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from .cgroups import Hierarchy
from .job.spawn import reset_signals
from .kernel.loop import Loop
from .kernel.reap import fork
from .kernel.restarted_child import RestartedChild
from .logs.supervisor_log import log
from .sentinel_main import IGNORED

_PROGRAM: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sentinel_main.py")
# How long its end is waited for after KILL; only a tracer can make it take longer.
_END_S: Final = 1.0


class Sentinel:
    """The sentinel's process: started, and started again if something ends it, until ``end``."""

    def __init__(self, loop: Loop, hierarchy: Hierarchy, lock_fd: int) -> None:
        """``lock_fd`` is of the parent group."""
        self._hierarchy = hierarchy
        self._lock_fd = lock_fd
        self._child = RestartedChild(
            loop,
            self._fork,
            lambda why: log(f"the process that ends jobs if this one is killed {why}"),
        )

    def start(self) -> None:
        """Forks and executes it. If that fails, it is logged and tried again."""
        self._child.start()

    def end(self) -> None:
        """Ends it: no job is left, or everything was done for them that could be done."""
        self._child.end(_END_S, kill=True)

    def _fork(self) -> int:
        fds: list[int] = []
        try:
            fds.append(os.pidfd_open(os.getpid()))
            kill_fd = self._hierarchy.kill_fd()
            fds += [] if kill_fd is None else [kill_fd]
            pid = fork()
            if pid == 0:
                _execute(
                    [fds[0], -1 if kill_fd is None else kill_fd, self._lock_fd],
                    self._hierarchy.kill_directory(),
                )
            return pid
        finally:
            for fd in fds:
                os.close(fd)


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
