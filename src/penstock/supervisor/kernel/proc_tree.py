"""Process trees by /proc, where no cgroup holds them together."""

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from typing import Final

# A stopped process cannot fork, so each round finds fewer that still can. Whoever forks
# faster than it is listed is met again by the caller's next kill.
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
    """Field 22 of /proc/<pid>/stat, which with the boot id names a process for ever; 0 if gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rsplit(b")", 1)[1].split()[19])
    except OSError:
        return 0


def alive(pids: set[int]) -> set[int]:
    """Those that are not zombies."""
    return {pid for pid in pids if _stat(pid)[0] != "Z"}


def kill(find: Callable[[], set[int]]) -> int:
    """STOP to all that ``find`` lists until it lists nobody new, then KILL; how many there were.

    ``find`` lists processes below this one. Their parents may reap them meanwhile and
    their pids be reused; so each is pinned by a pidfd, and is signalled only if its
    parent is one of the tree still.
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
    """Signals the processes below one, which is nobody's to reap but ours; how many got it.

    Pinned and looked at again as for ``kill``.
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
        # Gone is ESRCH, and on some kernels (6.1) EINVAL while somebody holds a pidfd of it.
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
    """State and parent: fields 3 and 4 of /proc/<pid>/stat; a zombie of nobody if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, parent, *_ = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return "Z", 0
    return state, int(parent)
