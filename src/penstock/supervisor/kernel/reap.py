"""The supervisor's own children: forked here, reaped here, told apart from strangers.

A stranger is a process that the kernel made our child because its parent died: as init
of a container, or as subreaper of jobs without a cgroup.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Any, Final

from .clone3 import clone_into
from .loop import Loop
from .proc_tree import children

_own: Final[set[int]] = set()
_TRACED_S: Final = 2.0
_TRACED_AGAIN_S: Final = 0.005
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
    """Status and resources of an own child that is about to end; waits for that."""
    _, status, used = os.wait4(pid, 0)
    _own.discard(pid)
    return status, rusage(used)


def reap_ended(
    loop: Loop, pid: int, on_reaped: Callable[[int | None, dict[str, Any]], None]
) -> None:
    """The same of one whose pidfd says that it has ended, told by a call: nothing waits here.

    At once, unless somebody traces it (ptrace(2)): the kernel keeps a zombie for its tracer until
    that has waited for it or ended. After _TRACED_S the status is None, and the zombie a stranger.
    """
    deadline = time.monotonic() + _TRACED_S

    def try_it() -> None:
        found, status, used = os.wait4(pid, os.WNOHANG)
        if found:
            _own.discard(pid)
            on_reaped(status, rusage(used))
        elif time.monotonic() < deadline:
            loop.after(_TRACED_AGAIN_S, try_it)
        else:
            disown(pid)
            on_reaped(None, {})

    try_it()


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
            ended, status = os.waitpid(pid, os.WNOHANG)
            # One that has asked to be traced by its parent is told of when it stops, too.
            if ended and not os.WIFSTOPPED(status):
                found.discard(pid)
        except ChildProcessError:
            found.discard(pid)
    return found
