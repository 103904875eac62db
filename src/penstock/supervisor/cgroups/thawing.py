"""Thaws frozen groups, also those that another program has frozen, so that signals take effect.

A process runs only if its own group and every group above it are thawed. Groups at or below
penstock's base are its own, so all of those are thawed, a client's group too. Other jobs below it
then run as well, which the caller reports. Groups above belong to others and are left alone.

Beside a v2 mount penstock has no groups in v1's freezer hierarchy, but another program may have put
processes of a job into one of its own. A process that is frozen there receives no signal, not even
KILL. So it is moved into the group that penstockd itself is in there; the other program's group
stays as it is.
"""

import contextlib
import os
from collections.abc import Iterable

from .group_files import GroupError, read, write
from .strays import groups_of


def thaw(path: str, top: str) -> list[str]:
    """Thaws the groups from ``top`` down to ``path``, and all below it.

    ``path`` is ``top`` or below it. Returns the groups that had been frozen. Raises GroupError with
    the first that cannot be thawed, after the others were tried.
    """
    frozen: list[str] = []
    failed: GroupError | None = None
    for directory in (*_above(path, top), *_below(path)):
        try:
            if _thaw_one(directory):
                frozen.append(directory)
        except GroupError as error:
            if os.path.isdir(directory):  # otherwise it is empty
                failed = failed or error
    if failed is not None:
        raise failed
    return frozen


def leave_freezers(mount: str, pids: Iterable[int]) -> list[int]:
    """Moves those of ``pids`` that stand in a frozen group of the v1 freezer hierarchy, which is
    mounted at ``mount``, into this process's own group there; returns their pids.

    A frozen process cannot end, so none of these pids can be reused meanwhile.
    """
    home = groups_of("self").get("freezer")
    if home is None:
        return []
    moved = []
    for pid in pids:
        group = groups_of(pid).get("freezer")
        if group is None or group == home:
            continue
        with contextlib.suppress(GroupError):  # it has ended, or the hierarchy is read-only
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
    """Thaws one group of v1 or v2, and returns whether it was frozen. Raises GroupError."""
    control = f"{directory}/cgroup.freeze"
    if os.path.exists(control):
        frozen, thawed = read(control) == "1", "0"
    else:
        control = f"{directory}/freezer.state"
        frozen, thawed = read(control) != "THAWED", "THAWED"
    if frozen:
        write(control, thawed)
    return frozen
