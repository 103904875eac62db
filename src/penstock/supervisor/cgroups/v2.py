"""cgroup v2: all limits of a job in one directory.

docs/cgroups.md says which file holds which limit.
"""

import os
from collections.abc import Collection
from typing import Final

from ...policy.limit_classes import Enforcement, LimitName, ResourceLimits
from .control_files import ControlFiles
from .cpu_quota import judge_quota, lift_quota, quota_and_period_us
from .group_files import make_directory, read, write
from .v1 import NO_DISK, has_swap

CONTROLLERS: Final = ("cpu", "memory", "io", "pids")


def enable_controllers(mount: str, parent: str) -> None:
    """Enables the controllers from the mount down to ``parent``'s children.

    Raises GroupError, for instance where a group on the way has processes of its own
    (a v2 group with processes cannot give controllers to its children).
    """
    path = mount
    available = enabled_controllers(path) & set(CONTROLLERS)
    for component in ["", *parent.strip("/").split("/")]:
        path = os.path.join(path, component) if component else path
        if not os.path.isdir(path):
            make_directory(path)
        control = os.path.join(path, "cgroup.subtree_control")
        missing = available - set(read(control).split())
        if missing:
            write(control, " ".join(f"+{name}" for name in sorted(missing)))


def enabled_controllers(path: str) -> frozenset[str]:
    """The controllers that a group has, from its cgroup.controllers. Raises GroupError."""
    return frozenset(read(os.path.join(path, "cgroup.controllers")).split())


class V2Limits:
    """The limit files of one v2 group: a job's, or with ``total`` a client's."""

    def __init__(self, path: str, *, total: bool = False) -> None:
        self.paths: dict[str, str] = {}
        self._path = path
        self._total = total
        self.entries: list[Enforcement] = []
        """As of the last look; ``as_set``: as it was when the limits were set."""
        self.as_set: tuple[Enforcement, ...] = ()
        self.files = ControlFiles()

    def create(self, limits: ResourceLimits, device: str | None) -> None:
        """Only sets the limits, because V2Killer has made the directory. Raises GroupError."""
        self.set(limits, device)

    def set(self, limits: ResourceLimits, device: str | None) -> None:
        """Sets every limit and reads it back. Raises GroupError."""
        controllers = enabled_controllers(self._path)
        self.files.forget()
        self.entries = [
            self._cpu(limits.cpu_cores, "cpu" in controllers),
            self._memory(limits.memory_bytes, "memory" in controllers),
            *self._disk(limits, device, "io" in controllers),
            self._processes(limits.processes, "pids" in controllers),
        ]
        self.as_set = tuple(self.entries)

    def _put(self, limit: LimitName, name: str, value: str) -> str:
        """As group_files.put, and remembers the file so that later looks compare it."""
        path = self._file(name)
        write(path, value)
        return self.files.note(limit, path, value, read(path))

    def _file(self, name: str) -> str:
        return os.path.join(self._path, name)

    def _cpu(self, cores: float | None, available: bool) -> Enforcement:
        if cores is None or not available:
            return Enforcement("cpu", "unavailable", detail="no limit set" if available else "")
        asked_us, period_us = quota_and_period_us(cores)
        quota, _, period = self._put("cpu", "cpu.max", f"{asked_us} {period_us}").partition(" ")
        return judge_quota(asked_us, period_us, quota, period)

    def _memory(self, asked: int | None, available: bool) -> Enforcement:
        if available and not self._total:
            # So that the OOM killer ends a job as a whole, also where its client's total is used
            # up. Only one of the client's jobs is ended then.
            self._put("memory", "memory.oom.group", "1")
        if asked is None or not available:
            return Enforcement("memory", "unavailable", detail="no limit set" if available else "")
        actual = self._put("memory", "memory.max", str(asked))
        held = (
            actual.isdigit()
            and int(actual) <= asked
            and asked - int(actual) < os.sysconf("SC_PAGE_SIZE")
        )
        if os.path.exists(self._file("memory.swap.max")):
            held = self._put("memory", "memory.swap.max", "0") == "0" and held
        elif has_swap():
            return Enforcement("memory", "partial", actual, "swap is not limited")
        return Enforcement("memory", "enforced" if held else "unavailable", actual)

    def _disk(
        self, limits: ResourceLimits, device: str | None, available: bool
    ) -> list[Enforcement]:
        asked = {"rbps": limits.disk_read_bytes_per_s, "wbps": limits.disk_write_bytes_per_s}
        wanted = {key: value for key, value in asked.items() if value is not None}
        actual: dict[str, str] = {}
        why = "" if available else "the io controller is not available"
        if available and device is None:
            why = NO_DISK
        elif available and wanted:
            pairs = " ".join(f"{key}={value}" for key, value in wanted.items())
            path = self._file("io.max")
            write(path, f"{device} {pairs}")
            text = read(path)
            names: dict[str, LimitName] = {"rbps": "disk_read", "wbps": "disk_write"}
            for key, value in wanted.items():
                self.files.note(names[key], path, f"{device} {key}={value}", text, keyed=True)
            for line in text.splitlines():
                number, *values = line.split()
                if number == device:
                    actual = dict(value.split("=", 1) for value in values)
        found = []
        for limit, key in (("disk_read", "rbps"), ("disk_write", "wbps")):
            held = key in wanted and actual.get(key) == str(wanted[key])
            found.append(
                Enforcement(
                    "disk_read" if limit == "disk_read" else "disk_write",
                    "enforced" if held else "unavailable",
                    actual.get(key, ""),
                    why or ("" if key in wanted else "no limit set"),
                )
            )
        return found

    def _processes(self, asked: int | None, available: bool) -> Enforcement:
        if asked is None or not available:
            return Enforcement(
                "processes", "unavailable", detail="no limit set" if available else ""
            )
        actual = self._put("processes", "pids.max", str(asked))
        return Enforcement(
            "processes", "enforced" if actual == str(asked) else "unavailable", actual
        )

    def lift(self, names: Collection[LimitName], device: str | None) -> None:
        """Removes these limits, as far as the group can have them. Raises GroupError."""
        if "cpu" in names:
            self.lift_quota()
        if "memory" in names:
            self._lift("memory.max", "max")
            self._lift("memory.swap.max", "max")
        if "processes" in names:
            self._lift("pids.max", "max")
        for name, key in (("disk_read", "rbps"), ("disk_write", "wbps")):
            if name in names and device is not None:
                self._lift("io.max", f"{device} {key}=max")

    def _lift(self, name: str, value: str) -> None:
        if os.path.exists(self._file(name)):
            write(self._file(name), value)

    def lift_quota(self) -> None:
        """Removes the CPU quota, so that the group may use all that its parent has. GroupError."""
        lift_quota(self._path)

    def usage_files(self) -> dict[str, str]:
        """Paths of the files with the controllers' counts, by name. Not every kernel has each."""
        names = ("memory.current", "memory.stat", "memory.peak", "memory.events")
        return {name: self._file(name) for name in (*names, "io.stat", "pids.current")}

    def tasks_files(self) -> list[str]:
        """Empty, because a process enters by the killer's directory."""
        return []

    def remove(self) -> bool:
        """True, because V2Killer removes the directory."""
        return True
