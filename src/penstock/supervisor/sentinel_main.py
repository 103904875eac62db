"""Outlives the supervisor for a moment, and ends its jobs if it was killed.

sentinel.py runs it as a file: ``sentinel_main.py PIDFD KILL_FD LOCK_FD DIRECTORY``. It is a program
of its own, so that a command that ends all processes of the supervisor's name or session does not
end this one. It imports nothing of penstock, and holds nothing but a pidfd of the supervisor, a
descriptor of the parent group's cgroup.kill, and the lock of that group, so that no new penstockd
has jobs there before this is done.
"""

import contextlib
import os
import select
import signal
import sys
import time
from typing import Final

# A service manager sends these to all processes of a unit. sentinel.py makes it ignore them.
IGNORED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# How long it kills again: a process may just have been moved in as the group was killed, or may be
# in an uninterruptible sleep. The next penstockd, which waits for this process, sweeps the rest.
_BOUND_S: Final = 2.0
_ROUND_S: Final = 0.01


def main(arguments: list[str]) -> None:
    """Returns when the supervisor has ended and its groups are empty, or after the bound."""
    pidfd, kill_fd, directory = int(arguments[0]), int(arguments[1]), arguments[3]
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    deadline = time.monotonic() + _BOUND_S
    while True:
        end_all(kill_fd, directory)
        if not members(directory) or time.monotonic() >= deadline:
            return
        time.sleep(_ROUND_S)


def end_all(kill_fd: int, directory: str) -> None:
    """Kills all members of the group, once. Raises nothing."""
    if kill_fd >= 0:
        with contextlib.suppress(OSError):
            os.write(kill_fd, b"1")
    # By the path as well, because the group may have been made anew since. Before Linux 5.14 and on
    # pure v1 there is no cgroup.kill; there the group is frozen first, because a frozen process
    # cannot fork while the members are killed one by one.
    at_once = _written(f"{directory}/cgroup.kill", b"1")
    if not at_once:
        _written(f"{directory}/freezer.state", b"FROZEN")
    # Also after cgroup.kill, because that misses a process that runs on without its first thread
    # (cgroups/v2_kill.py).
    for pid in members(directory):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    if not at_once:
        # All groups below, too: that of a paused job is frozen by itself, and its processes die
        # only once they run.
        for folder, _, _ in os.walk(directory):
            _written(f"{folder}/freezer.state", b"THAWED")


def members(directory: str) -> set[int]:
    """Pids of the group and of all groups below it. Raises nothing."""
    found = set()
    for folder, _, _ in os.walk(directory):
        with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", "rb") as file:
            found |= {int(pid) for pid in file.read().split()}
    return found - {0}  # 0 stands for a process of a pid namespace that is not visible here


def _written(path: str, data: bytes) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, data)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
