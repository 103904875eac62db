"""Where groups are made: below a path of the configuration, or below this process's own group.

A service manager gives a unit a group and, with ``Delegate=yes``, leaves all below it to the unit
(systemd's "Control Group APIs and Delegation"). A v2 group with processes can give no controllers
to the groups below it. So penstockd moves itself, and with it the server, into a leaf there, and
puts its jobs into another:

    <unit>/supervisor               penstockd and the server
    <unit>/jobs/<client>/<job id>
"""

import os
from typing import Final

from .cgroup_mounts import Mounts
from .group_files import GroupError, make_directory, read_pids, write

DELEGATED: Final = "delegated"
DEFAULT_PARENT: Final = "/penstock"
LEAF: Final = "supervisor"
JOBS: Final = "/jobs"
_HELP: Final = (
    'write cgroup_parent = "/penstock", or start penstockd as a unit with Delegate=yes '
    "(docs/operations.md)"
)


def find_place(configured: str | None, mounts: Mounts, own: str) -> tuple[Mounts, str]:
    """The mounts for the other modules here, and the base group below each of them.

    ``own`` is the text of /proc/self/cgroup. ``configured`` is a path, "delegated", or None, which
    is the delegated group if systemd has marked this process's own group so, otherwise /penstock.
    In a delegated group this moves the process into its leaf. Raises GroupError.
    """
    if (named := named_place(configured)) is not None:
        return mounts, named
    unit = _unit(mounts, own)
    if configured is None and not (unit is not None and _is_marked(_top(mounts) + unit)):
        return mounts, DEFAULT_PARENT
    if unit is None:
        raise GroupError(f"cgroup_parent: penstockd has no group of its own; {_HELP}")
    below = mounts.below(unit)
    if mounts.v2 is not None:
        _enter_leaf(mounts.v2 + unit, controllers=bool(below.v2_controllers))
    return below, JOBS


def named_place(configured: str | None) -> str | None:
    """The base that the configuration names, if it is a group's path: then it is known without
    looking at the process that penstockd is."""
    return None if configured == DELEGATED else configured


def own_path(text: str, *, v2: bool) -> str | None:
    """The group in /proc/self/cgroup (pure): of the v2 mount, or of systemd's own v1 hierarchy.

    None where there is none, or where it has been removed.
    """
    wanted = "0::" if v2 else "name=systemd:"
    for line in text.splitlines():
        path = line if v2 else line.partition(":")[2]
        if path.startswith(wanted) and not path.endswith(" (deleted)"):
            return path.removeprefix(wanted)
    return None


def _top(mounts: Mounts) -> str:
    return mounts.v2 if mounts.v2 is not None else next(iter(mounts.v1.values()), "")


def _unit(mounts: Mounts, own: str) -> str | None:
    """The unit's group below the mounts, "" if it is the mount's root; None in the host's root."""
    path = own_path(own, v2=mounts.v2 is not None)
    if path is None:
        return None
    if mounts.v2_root != "/":  # as in a container without a cgroup namespace of its own
        if not f"{path}/".startswith(f"{mounts.v2_root}/"):
            return None
        path = path.removeprefix(mounts.v2_root)
    # systemd's DelegateSubgroup=supervisor starts penstockd in the leaf.
    unit = path.rstrip("/").removesuffix(f"/{LEAF}")
    # Every v2 group but the host's root has a type.
    if not unit and (mounts.v2 is None or not os.path.exists(f"{mounts.v2}/cgroup.type")):
        return None
    return unit


def _is_marked(path: str) -> bool:
    """Whether systemd has marked the group as delegated, so that all below it is the unit's."""
    for name in ("trusted.delegate", "user.delegate"):
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue
    return False


def _enter_leaf(unit: str, *, controllers: bool) -> None:
    leaf = f"{unit}/{LEAF}"
    if not os.path.isdir(leaf):
        make_directory(leaf)
    write(f"{leaf}/cgroup.procs", "0")
    others = read_pids(f"{unit}/cgroup.procs")
    if others and controllers:
        raise GroupError(
            f"cgroup_parent: {unit} has processes besides penstockd, {others[:8]}, so its "
            f"controllers cannot be given to jobs; {_HELP}"
        )
