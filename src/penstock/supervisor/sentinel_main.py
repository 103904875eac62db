"""Outlives the supervisor for a moment, and ends its jobs if it was killed.

Run as a file, ``sentinel_main.py PIDFD KILL_FD LOCK_FD DIRECTORY``, by sentinel.py. A program of
its own, so that what ends all processes of the supervisor's name or session does not end this one:
it imports nothing of penstock, and holds nothing but a pidfd of the supervisor, a descriptor of
the parent group's cgroup.kill, and the lock of that group, so that no new penstockd has
jobs there before this is done.
"""

import contextlib
import os
import select
import signal
import sys
import time
from typing import Final

# A manager of services sends them to everybody whom it knows of. sentinel.py sets them.
IGNORED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# Of who was just being moved in while the group was killed, or sleeps uninterruptibly. The next
# penstockd, which waits for us, sweeps what is left then.
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
    """One round. Raises nothing."""
    if kill_fd >= 0:
        with contextlib.suppress(OSError):
            os.write(kill_fd, b"1")
    # The group may have been made anew since; and cgroup.kill is not there before Linux 5.14 and
    # on pure v1, where who is frozen cannot fork while we go through them.
    at_once = _written(f"{directory}/cgroup.kill", b"1")
    if not at_once:
        _written(f"{directory}/freezer.state", b"FROZEN")
    # Also after cgroup.kill, which misses a process that runs on without its first thread
    # (cgroups/v2_kill.py).
    for pid in members(directory):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    if not at_once:
        _written(f"{directory}/freezer.state", b"THAWED")


def members(directory: str) -> set[int]:
    """Of the group and of all below. Raises nothing."""
    found = set()
    for folder, _, _ in os.walk(directory):
        with contextlib.suppress(OSError), open(f"{folder}/cgroup.procs", "rb") as file:
            found |= {int(pid) for pid in file.read().split()}
    return found - {0}  # 0: of another pid namespace than ours


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
