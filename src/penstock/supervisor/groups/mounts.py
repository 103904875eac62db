"""Where cgroups are mounted, and which disk is behind a path."""

import os
from dataclasses import dataclass, field
from typing import Final

# What penstock sets limits with on v1. freezer is for killing where there is no v2 mount.
V1_CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids", "blkio", "freezer")


@dataclass(frozen=True, slots=True)
class Mounts:
    """``v1`` maps a controller to its mount point; ``v2`` is the unified mount, if any."""

    v1: dict[str, str] = field(hash=False)
    v2: str | None = None
    v2_controllers: frozenset[str] = frozenset()


def parse(mountinfo: str) -> Mounts:
    """The cgroup mounts in the text of /proc/self/mountinfo (proc(5))."""
    v1: dict[str, str] = {}
    v2: str | None = None
    for line in mountinfo.splitlines():
        fields = line.split()
        if "-" not in fields:
            continue
        separator = fields.index("-")
        mount_point = fields[4].encode().decode("unicode_escape")
        kind, options = fields[separator + 1], fields[-1].split(",")
        if kind == "cgroup2" and v2 is None:
            v2 = mount_point
        elif kind == "cgroup":
            for name in V1_CONTROLLERS:
                if name in options:
                    v1.setdefault(name, mount_point)
    controllers: frozenset[str] = frozenset()
    if v2 is not None:
        try:
            with open(os.path.join(v2, "cgroup.controllers"), encoding="ascii") as file:
                controllers = frozenset(file.read().split())
        except OSError:
            v2 = None
    return Mounts(v1, v2, controllers)


def block_device(path: str) -> str | None:
    """major:minor of the whole disk behind ``path``; None for overlay, tmpfs and the like.

    Limits are per disk, so a partition is resolved to what it is a part of.
    """
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    entry = os.path.join("/sys/dev/block", number)
    if not os.path.exists(entry):
        return None
    if os.path.exists(os.path.join(entry, "partition")):
        with open(os.path.join(os.path.realpath(entry), "..", "dev"), encoding="ascii") as file:
            return file.read().strip()
    return number
