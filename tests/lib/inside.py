"""Processes of a test in a group, as the supervisor gets its own there."""

import os
from pathlib import Path

from penstock.supervisor.cgroups import Group
from penstock.supervisor.kernel.clone3 import clone_into


def fork_inside(group: Group) -> int:
    """As os.fork, with the child in every directory of the group."""
    birth_fd, write_fds = group.entrance()
    pid = os.fork() if birth_fd is None else clone_into(birth_fd)
    if pid:
        group.close_entrance()
        return pid
    for fd in write_fds:
        os.write(fd, b"0")
    return 0


def directories(group: Group) -> list[Path]:
    """The group's, of every hierarchy."""
    birth_fd, write_fds = group.entrance()
    found = [Path(os.readlink(f"/proc/self/fd/{fd}")).parent for fd in write_fds]
    if birth_fd is not None:
        found.append(Path(os.readlink(f"/proc/self/fd/{birth_fd}")))
    group.close_entrance()
    return found
