"""Frozen groups made to run on, whoever has frozen them, so that a signal can be heard.

A process runs only if its own group and every group above it are thawed. What is at or below the
own parent is penstock's, so all of that is thawed, a client's group too: other jobs below it run on
then as well, which the caller reports. What is above belongs to others and is left alone.

Beside a v2 mount penstock has no groups in v1's freezer hierarchy, but somebody else may have put
processes of a job into one of theirs. Such a process hears no signal at all, not even KILL. It is
moved back into the group that penstockd itself is in there; their group stays as it is.
"""

import contextlib
import os
from collections.abc import Iterable

from .group_files import GroupError, read, write
from .strays import groups_of


def thaw(path: str, top: str) -> list[str]:
    """Thaws the groups from ``top`` down to ``path``, and all below it; which had been frozen.

    ``path`` is ``top`` or below it. Raises GroupError with the first that cannot be thawed, after
    the others were tried.
    """
    frozen: list[str] = []
    failed: GroupError | None = None
    for directory in (*_above(path, top), *_below(path)):
        try:
            if _thaw_one(directory):
                frozen.append(directory)
        except GroupError as error:
            if os.path.isdir(directory):  # else there is nobody in it
                failed = failed or error
    if failed is not None:
        raise failed
    return frozen


def leave_freezers(mount: str, pids: Iterable[int]) -> list[int]:
    """Moves those of ``pids`` that stand in a frozen group of the v1 freezer hierarchy, which is
    mounted at ``mount``, into this process's own group there; which these were.

    A frozen process cannot end, so none of these numbers can belong to anybody else meanwhile.
    """
    home = groups_of("self").get("freezer")
    if home is None:
        return []
    moved = []
    for pid in pids:
        group = groups_of(pid).get("freezer")
        if group is None or group == home:
            continue
        with contextlib.suppress(GroupError):  # it has ended, or that hierarchy is not ours to use
            if read(f"{mount}{group}/freezer.state") != "THAWED":
                write(f"{mount}{home}/cgroup.procs", str(pid))
                moved.append(pid)
    return moved


def _above(path: str, top: str) -> list[str]:
    """The groups above ``path`` from ``top`` on, the highest first."""
    found = []
    while path != top and path.startswith(f"{top}/"):
        path = os.path.dirname(path)
        found.append(path)
    return found[::-1]


def _below(path: str) -> list[str]:
    return [directory for directory, _, _ in os.walk(path)]


def _thaw_one(directory: str) -> bool:
    """Whether it had been frozen. Of either version: its own file says which."""
    control = f"{directory}/cgroup.freeze"
    if os.path.exists(control):
        frozen, thawed = read(control) == "1", "0"
    else:
        control = f"{directory}/freezer.state"
        frozen, thawed = read(control) != "THAWED", "THAWED"
    if frozen:
        write(control, thawed)
    return frozen
