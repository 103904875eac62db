"""The supervisor's own children: forked here, reaped here, told apart from strangers.

A stranger is a process that the kernel made our child because its parent died: we are init of a
container, or the subreaper of jobs without a cgroup. Strangers are reaped as they come, and their
status is thrown away; of an own child the status is a job's or the server's end, so it is reaped
only by the code that waits for it.
"""

import os
import signal
import time
from collections.abc import Callable
from resource import struct_rusage
from typing import Final

from .clone3 import clone_into
from .loop import Loop
from .proc_tree import children

_own: Final[set[int]] = set()
_TRACED_S: Final = 2.0
_TRACED_AGAIN_S: Final = 0.005
# A bound, because a job that forks and dies without end must not hold up the supervisor.
_MOST_LOOKS: Final = 64
# The signals that this process or a subreaper has handlers for. Not all signals, because Python
# makes objects of the mask that was there before, 0.1 ms for all, and in the child once more.
HANDLED: Final = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD}
)


def fork(birth_fd: int | None = None) -> int:
    """fork(2), with HANDLED blocked across it; into the group with this directory. Raises OSError.

    The child keeps them blocked until it has its own dispositions. Otherwise the supervisor's
    handlers would take a signal that comes before, and write into the supervisor's own pipe.
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


def reap(pid: int) -> tuple[int, dict[str, float]]:
    """Status and resources of an own child that is about to end; waits for that."""
    _, status, used = os.wait4(pid, 0)
    _own.discard(pid)
    return status, rusage(used)


def reap_ended(
    loop: Loop, pid: int, on_reaped: Callable[[int | None, dict[str, float]], None]
) -> None:
    """As reap, for a child whose pidfd says that it has ended: calls back instead of waiting.

    It calls at once, unless a tracer holds the child (ptrace(2)), because the kernel keeps a zombie
    until its tracer has waited for it or ended. After _TRACED_S the status is None, and the zombie
    is left to be reaped as a stranger.
    """
    deadline = time.monotonic() + _TRACED_S

    def try_it() -> None:
        try:
            found, status, used = os.wait4(pid, os.WNOHANG)
        except ChildProcessError:  # it was disowned meanwhile, and reaped as a stranger
            on_reaped(None, {})
            return
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
    """Gives up waiting for this child: it is reaped as a stranger, whenever it ends."""
    _own.discard(pid)


def rusage(used: struct_rusage) -> dict[str, float]:
    """CPU time by getrusage(2).

    Not its maximum of memory, because that counts what the fork shared with us before exec.
    """
    return {"user_s": used.ru_utime, "system_s": used.ru_stime}


def strangers() -> set[int]:
    """Children of this process that it has not forked, after the dead ones were reaped."""
    left: set[int] = set()
    for _ in range(_MOST_LOOKS):
        found = children(os.getpid()) - _own
        left = _without_dead(found)
        if left == found:
            break  # otherwise one may have died behind the list, and left its children to us
    return left


def _without_dead(found: set[int]) -> set[int]:
    """Those of them that have not ended; the others are reaped."""
    found = set(found)
    for pid in list(found):
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
            # A child that has asked to be traced by its parent is reported when it stops, too.
            if ended and not os.WIFSTOPPED(status):
                found.discard(pid)
        except ChildProcessError:
            found.discard(pid)
    return found
