"""The supervisor's own children: forked here, reaped here, told apart from strangers.

A stranger is a process that the kernel made our child because its parent died: as init
of a container, or as subreaper of jobs without a cgroup.
"""

import os
import signal
from typing import Any, Final

from .cloning import clone_into
from .trees import children

_own: Final[set[int]] = set()
# What this process or a keeper has handlers for. Not all signals: Python makes objects of what was
# blocked before, 0.1 ms for all, in the child again.
HANDLED: Final = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD}
)


def fork(birth_fd: int | None = None) -> int:
    """fork(2), with HANDLED blocked across it; into the group with this directory. Raises OSError.

    The child keeps them blocked until it has its own dispositions: a signal that came
    before would be taken by the supervisor's handlers, which write into the supervisor's pipe.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        pid = os.fork() if birth_fd is None else clone_into(birth_fd)
        if pid == 0:
            signal.set_wakeup_fd(-1)
            _own.clear()
            return 0
        _own.add(pid)
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def reap(pid: int) -> tuple[int, dict[str, Any]]:
    """Status and resources of an own child whose pidfd says that it has ended."""
    _, status, used = os.wait4(pid, 0)
    _own.discard(pid)
    return status, rusage(used)


def disown(pid: int) -> None:
    """Nobody waits for this one: it is reaped as a stranger, whenever it ends."""
    _own.discard(pid)


def rusage(used: Any) -> dict[str, Any]:
    """CPU time by getrusage(2). Its maximum of memory counts the fork before exec, too."""
    return {"user_s": used.ru_utime, "system_s": used.ru_stime}


def strangers() -> set[int]:
    """Children of this process that it has not forked, after the dead ones were reaped."""
    found = children(os.getpid()) - _own
    for pid in list(found):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                found.discard(pid)
        except ChildProcessError:
            found.discard(pid)
    return found
