"""What an earlier life has left: its groups, however deep, and whoever is in them.

Only at start, before anything is accepted, so waiting a moment costs nobody.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from .client_groups import is_job_id
from .cpu_quota import lift_quota
from .group_files import GroupError, pids_below, remove_tree
from .killer import Killer
from .v1_kill import V1Killer
from .v2_kill import V2Killer

# A process in uninterruptible sleep outlives its KILL; penstockd starts all the same.
_BOUND_S: Final = 10.0
_ROUND_S: Final = 0.2
# v1 is busy for a moment after the last process.
_BUSY_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Swept:
    """``jobs`` are ids, ``processes`` were killed; ``left`` could not be removed within 10 s."""

    jobs: tuple[str, ...] = ()
    processes: int = 0
    left: tuple[str, ...] = ()


def sweep(parents: Sequence[str], ours: Callable[[str], bool]) -> Swept:
    """Ends everybody below each of ``parents``, in this order, and removes the groups.

    ``ours`` says whether a group in one of them has a name that penstock gives. Raises GroupError
    where one has another name, and nobody is ended then: whose services would those be?
    """
    for parent in parents:
        for path in _children(parent):
            if not ours(os.path.basename(path)):
                raise GroupError(
                    f"cgroup_parent: {path} is no group of penstock's, and whatever is in "
                    f"{parent} would be killed; name a group that is penstock's alone"
                )
    deadline = time.monotonic() + _BOUND_S
    jobs: set[str] = set()
    killed: set[int] = set()
    for parent in parents:
        for path in _children(parent):
            _lift_quotas(path)
    for parent in parents:
        for path in _children(parent):
            jobs |= {name for name in _below(path) if is_job_id(name)}
            killed |= _end(path, deadline)
    left = [path for parent in parents for path in _children(parent)]
    while left := [path for path in left if not remove_tree(path)]:
        if time.monotonic() >= deadline:
            break
        select.select([], [], [], _BUSY_S)
    return Swept(tuple(sorted(jobs)), len(killed), tuple(left))


def _children(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _below(path: str) -> set[str]:
    """The names of the group and of all below it, but of what a job may have made in its own."""
    name = os.path.basename(path)
    found = {name}
    if not is_job_id(name):
        for inner in _children(path):
            found |= _below(inner)
    return found


def _lift_quotas(path: str) -> None:
    """Of a group and those below it, before they are ended: dying is held to a quota as well."""
    for directory, _, _ in os.walk(path):
        with contextlib.suppress(GroupError):  # removed meanwhile
            lift_quota(directory)


def _end(path: str, deadline: float) -> set[int]:
    """Whoever was inside; nobody is when it returns before the deadline."""
    if os.path.exists(os.path.join(path, "freezer.state")):
        killer: Killer = V1Killer(path)
    else:  # of v2, or of a v1 hierarchy, which has no cgroup.kill: its members one by one
        killer = V2Killer(path)
    found: set[int] = set()
    while (pids := pids_below(path)) and time.monotonic() < deadline:
        found.update(pids)
        with contextlib.suppress(GroupError):  # removed meanwhile; else it is tried again
            killer.kill()
        for pid in pids:
            _wait_dead(pid, deadline)
    return found


def _wait_dead(pid: int, deadline: float) -> None:
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        select.select([fd], [], [], max(0.0, min(_ROUND_S, deadline - time.monotonic())))
    finally:
        os.close(fd)
