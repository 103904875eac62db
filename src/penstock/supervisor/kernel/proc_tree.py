"""Process trees by /proc, where no cgroup holds them together.

A pid that was read from /proc may belong to another process a moment later, because its parent may
reap it. So a process is pinned by a pidfd first, is then looked at again, and is signalled by that
pidfd only if its parent is still in the tree.
"""

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from typing import Final

# A stopped process cannot fork, so each round finds fewer that still can. A process that forks
# faster than it is listed is found by the caller's next kill.
_ROUNDS: Final = 50


def children(pid: int) -> set[int]:
    """Children of one process, zombies too, by /proc/<pid>/task/*/children (proc(5))."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found.update(int(text) for text in file.read().split())
    return found


def descendants(pid: int) -> set[int]:
    """All processes below one, zombies too."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = children(todo.pop()) - found
        found |= new
        todo += new
    return found


def start_ticks(pid: int) -> int:
    """When a process started: field 22 of /proc/<pid>/stat, 0 if it is gone.

    With the pid and the boot id it names a process for ever.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rsplit(b")", 1)[1].split()[19])
    except OSError:
        return 0


def alive(pids: set[int]) -> set[int]:
    """Those that are not zombies."""
    return {pid for pid in pids if _stat(pid)[0] != "Z"}


def kill(find: Callable[[], set[int]]) -> int:
    """Stops all that ``find`` lists until it lists no new process, then kills them; how many.

    Stopped first, because KILL to one after the other would let those that are left fork.
    ``find`` lists processes below this one.
    """
    held: dict[int, int] = {}
    try:
        for _ in range(_ROUNDS):
            listed = find()
            new = [pid for pid in listed if pid not in held]
            if not new or not all([_pin(pid, listed, held) for pid in new]):
                break
        for fd in held.values():
            _send(fd, signal.SIGKILL)
        return len([fd for fd in held.values() if fd >= 0])
    finally:
        for fd in held.values():
            if fd >= 0:
                os.close(fd)


def signal_below(top: int, number: int) -> int:
    """Signals the processes below ``top``; how many got it.

    ``top`` itself must be a child that only this process reaps, so that its pid stays its own.
    """
    listed = descendants(top)
    count = 0
    for pid in listed:
        try:
            fd = os.pidfd_open(pid)
        except OSError:  # it has ended
            continue
        try:
            state, parent = _stat(pid)
            if state != "Z" and (parent in listed or parent == top):
                signal.pidfd_send_signal(fd, number)
                count += 1
        except ProcessLookupError:
            continue
        finally:
            os.close(fd)
    return count


def _pin(pid: int, listed: set[int], held: dict[int, int]) -> bool:
    """Stops one process and holds its pidfd. False: no descriptors are left for more."""
    held[pid] = -1
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        # A process that is gone is ESRCH, or on some kernels (6.1) EINVAL while it has a pidfd.
        return error.errno in (errno.ESRCH, errno.EINVAL)
    state, parent = _stat(pid)
    if state != "Z" and (parent in listed or parent == os.getpid()):
        held[pid] = fd
        _send(fd, signal.SIGSTOP)
    else:
        os.close(fd)
    return True


def _send(fd: int, number: int) -> None:
    if fd >= 0:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)


def _stat(pid: int) -> tuple[str, int]:
    """State and parent, fields 3 and 4 of /proc/<pid>/stat; ("Z", 0) for one that is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, parent, *_ = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return "Z", 0
    return state, int(parent)
