"""Ends what an earlier life of penstockd has left: its groups, at any depth, with their processes.

Theory of operation. A penstockd that was killed leaves jobs that run on without an owner. The next
one sweeps them before it starts a server, in one call of ``sweep``, which waits by itself: no
client is connected yet, so that a wait delays none. The steps are in this order, each over all
parents (with v1 there is one in each hierarchy; that of the v2 mount, if any, comes first):

1. *Names.* Any group that penstock would not name so makes the sweep fail before a process is
   killed, because a wrong ``cgroup_parent`` could otherwise end an operator's other services.
2. *Quotas* are lifted in every hierarchy, because processes die slowly under a CPU quota, and the
   quota may be in another hierarchy than the one that kills.
3. *Killing*, in rounds (``_end``): list, kill, wait for each listed process to die, list again,
   until the list is empty. v1's freezer comes first, because it alone can let a paused job die.
   Rounds are needed because without ``cgroup.kill`` a process may fork meanwhile. Processes that
   are left in one hierarchy alone are found when its turn comes.
4. *Removing*, deepest first, again in rounds, because the kernel is busy with a group for a moment
   after its last process.

The race that shaped it: a process in uninterruptible sleep outlives its KILL, perhaps for hours. So
all rounds share one deadline, and groups that stay are reported in ``left`` instead. They do no
harm to new jobs, because those are in a group of the new life (life_groups.py).
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

# Then penstockd starts anyway, because a process in uninterruptible sleep outlives its KILL.
_BOUND_S: Final = 10.0
_ROUND_S: Final = 0.2
# Between two tries to remove, because v1 is busy for a moment after the last process.
_BUSY_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Swept:
    """``jobs`` are ids, ``processes`` were killed; ``left`` could not be removed within 10 s."""

    jobs: tuple[str, ...] = ()
    processes: int = 0
    left: tuple[str, ...] = ()


def sweep(parents: Sequence[str], ours: Callable[[str], bool]) -> Swept:
    """Kills every process below each of ``parents``, in this order, and removes the groups.

    ``ours`` returns whether penstock gives groups that name. Raises GroupError where one has
    another name; no process is killed then, because it may be another service's.
    """
    foreign = foreign_group(parents, ours)
    if foreign is not None:
        raise GroupError(foreign)
    deadline = time.monotonic() + _BOUND_S
    jobs: set[str] = set()
    killed: set[int] = set()
    for parent in parents:
        for path in _children(parent):
            _lift_quotas(path)
    for parent in sorted(parents, key=_has_no_freezer):
        for path in _children(parent):
            jobs |= {name for name in _below(path) if is_job_id(name)}
            killed |= _end(path, deadline)
    left = [path for parent in parents for path in _children(parent)]
    while left := [path for path in left if not remove_tree(path)]:
        if time.monotonic() >= deadline:
            break
        select.select([], [], [], _BUSY_S)
    return Swept(tuple(sorted(jobs)), len(killed), tuple(left))


def foreign_group(parents: Sequence[str], ours: Callable[[str], bool]) -> str | None:
    """Why a sweep of these would fail: a group that another service may have; None if it would
    not."""
    for parent in parents:
        for path in _children(parent):
            if not ours(os.path.basename(path)):
                return (
                    f"cgroup_parent: {path} is no group of penstock's, and whatever is in "
                    f"{parent} would be killed; name a group that is penstock's alone"
                )
    return None


def _has_no_freezer(parent: str) -> bool:
    """Sorts v1's freezer before its other hierarchies, because a paused job dies by its hand alone:
    the others would wait for it until the deadline."""
    return not os.path.exists(os.path.join(parent, "freezer.state"))


def _children(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _below(path: str) -> set[str]:
    """Names of the group and of all below it, except those inside a job's, which the job made."""
    name = os.path.basename(path)
    found = {name}
    if not is_job_id(name):
        for inner in _children(path):
            found |= _below(inner)
    return found


def _lift_quotas(path: str) -> None:
    """Lifts the quotas of a group and of those below it, because they also slow down dying."""
    for directory, _, _ in os.walk(path):
        with contextlib.suppress(GroupError):  # removed meanwhile
            lift_quota(directory)


def _end(path: str, deadline: float) -> set[int]:
    """Kills the group's processes and returns their pids. Before the deadline, none is left."""
    if os.path.exists(os.path.join(path, "freezer.state")):
        killer: Killer = V1Killer(path)
    else:  # v2, or a v1 hierarchy without cgroup.kill, where it kills members one by one
        killer = V2Killer(path)
    found: set[int] = set()
    while (pids := pids_below(path)) and time.monotonic() < deadline:
        found.update(pids)
        with contextlib.suppress(GroupError):  # removed meanwhile; otherwise it is tried again
            killer.kill()
        killer.let_die(path)  # a paused job's own group is frozen below this one
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
