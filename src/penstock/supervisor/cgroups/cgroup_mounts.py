"""Where cgroups are mounted, and which disk is behind a path."""

import os
from dataclasses import dataclass, field
from typing import Final

# v1's controllers that penstock uses; freezer only for killing, where there is no v2 mount.
V1_CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids", "blkio", "freezer")


@dataclass(frozen=True, slots=True)
class Mounts:
    """``v1`` maps a controller to its mount point; ``v2`` is the unified mount, if any."""

    v1: dict[str, str] = field(hash=False)
    v2: str | None = None
    v2_controllers: frozenset[str] = frozenset()
    v2_counts_cpu: bool = False
    """Each group of the v2 mount counts CPU time, without any controller (since Linux 4.20)."""
    v2_root: str = "/"
    """Which group of the v2 hierarchy is the mount's root."""

    def below(self, path: str) -> "Mounts":
        """The same mounts with this group as their root, so that groups above stay out of sight."""
        v1 = {name: mount + path for name, mount in self.v1.items()}
        return _looked_at(v1, self.v2 + path if self.v2 is not None else None)

    def v1_used(self) -> tuple[str, ...]:
        """The controllers whose v1 hierarchies penstock uses where v1 holds the limits."""
        left_out = set()
        if self.v2 is not None:
            left_out.add("freezer")  # because cgroup.kill of the v2 mount kills better
            if self.v2_counts_cpu:
                left_out.add("cpuacct")
        return tuple(name for name in V1_CONTROLLERS if name in self.v1 and name not in left_out)

    def roots(self, kind: str) -> list[str]:
        """Where a host of this kind has groups, each once; v2 first, because it kills best."""
        v1 = [self.v1[name] for name in self.v1_used()] if kind != "v2" else []
        return list(dict.fromkeys([*([self.v2] if self.v2 is not None else []), *v1]))


def mounted() -> Mounts:
    """The cgroup mounts that this process sees. Raises OSError if /proc cannot be read."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return parse(file.read())


def parse(mountinfo: str) -> Mounts:
    """The cgroup mounts in the text of /proc/self/mountinfo (proc(5))."""
    v1: dict[str, str] = {}
    v2, root = None, "/"
    for line in mountinfo.splitlines():
        fields = line.split()
        if "-" not in fields:
            continue
        separator = fields.index("-")
        mount_point = fields[4].encode().decode("unicode_escape")
        kind, options = fields[separator + 1], fields[-1].split(",")
        if kind == "cgroup2" and v2 is None:
            v2, root = mount_point, fields[3].encode().decode("unicode_escape")
        elif kind == "cgroup":
            for name in V1_CONTROLLERS:
                if name in options:
                    v1.setdefault(name, mount_point)
    return _looked_at(v1, v2, root)


def _looked_at(v1: dict[str, str], v2: str | None, root: str = "/") -> Mounts:
    if v2 is None:
        return Mounts(v1)
    try:
        with open(os.path.join(v2, "cgroup.controllers"), encoding="ascii") as file:
            controllers = frozenset(file.read().split())
    except OSError:
        return Mounts(v1)
    return Mounts(v1, v2, controllers, os.path.exists(os.path.join(v2, "cpu.stat")), root)


def block_device(path: str) -> str | None:
    """major:minor of the whole disk behind ``path``; None for overlay, tmpfs and the like.

    The kernel limits whole disks, so a partition is resolved to its disk.
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
