"""Signals every process of a group and no other one, even if pids are reused meanwhile."""

import os
import signal
from collections.abc import Callable
from typing import Final

from .group_files import read_pids

_AT_ONCE: Final = 64  # pidfds held at a time


def signal_members(list_pids: Callable[[], list[int]], number: int, first: int = 0) -> int:
    """Signals all processes that are listed now, and returns how many received it.

    A process that is forked meanwhile may be missed. The process ``first``, if it is listed, gets
    the signal before the others, because a main process whose children have died of it could
    otherwise end before it receives the signal itself.

    A listed pid may be reused before it is opened. So each is pinned by a pidfd first, and
    signalled only if the group lists its pid after that. A process that is alive then has that pid
    itself, and a signal to a dead process's pidfd reaches no other one.
    """
    listed = sorted(list_pids(), key=lambda pid: pid != first)
    count = 0
    for begin in range(0, len(listed), _AT_ONCE):
        pinned = {}
        try:
            for pid in listed[begin : begin + _AT_ONCE]:
                try:
                    pinned[pid] = os.pidfd_open(pid)
                except OSError:  # it has ended
                    continue
            members = set(list_pids())
            count += sum(_send(fd, number) for pid, fd in pinned.items() if pid in members)
        finally:
            for fd in pinned.values():
                os.close(fd)
    return count


def _send(pidfd: int, number: int) -> int:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return 0
    return 1


def kill_below(path: str) -> None:
    """Sends KILL once to each member of a group and of all groups below it.

    A pid may be reused between the listing and the open, so the group is read again after the
    pidfd has pinned the process.
    """
    for directory, _, _ in os.walk(path):
        members = os.path.join(directory, "cgroup.procs")
        for pid in read_pids(members):
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                continue
            try:
                if pid in read_pids(members):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            except ProcessLookupError:
                pass
            finally:
                os.close(fd)
