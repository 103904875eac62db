"""cgroup v1: one directory per hierarchy, limits in files of each.

docs/cgroups.md says which file holds which limit and what the kernel does with it.
"""

import os
from collections.abc import Collection, Iterable
from typing import Final

from ...policy.limit_classes import Enforcement, LimitName, ResourceLimits
from .control_files import ControlFiles
from .cpu_quota import judge_quota, lift_quota, quota_and_period_us
from .group_files import GroupError, make_directory, put, read, remove_tree, write

CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids", "blkio")
# Set where there is no limit, because blkio counts only while a throttle rule exists.
NO_LIMIT_BYTES_PER_S: Final = 2**60
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")  # memory limits are rounded down to pages
NO_DISK: Final = "the working directory is on no disk"
_DIRECT_ONLY: Final = "direct I/O only; cgroup v1 does not throttle buffered writes"
# blk-throttle looks at parents in the v2 hierarchy only (throtl_pd_init in block/blk-throttle.c).
_NOT_BELOW: Final = "cgroup v1 throttles each group alone, not those below it together"
_USAGE: Final = {
    "cpuacct.usage": ("cpuacct", "cpuacct.usage"),
    "cpu.stat.v1": ("cpu", "cpu.stat"),
    "memory.usage_in_bytes": ("memory", "memory.usage_in_bytes"),
    "memory.stat.v1": ("memory", "memory.stat"),
    "memory.max_usage_in_bytes": ("memory", "memory.max_usage_in_bytes"),
    "memory.oom_control": ("memory", "memory.oom_control"),
    "blkio.throttle.io_service_bytes": ("blkio", "blkio.throttle.io_service_bytes"),
    "blkio.throttle.io_serviced": ("blkio", "blkio.throttle.io_serviced"),
    "pids.current.v1": ("pids", "pids.current"),
}


def has_swap() -> bool:
    """Whether this host has any swap. Raises GroupError if that cannot be known."""
    try:
        # Names of swap files are bytes; the first line is a heading.
        with open("/proc/swaps", "rb") as file:
            return len(file.read().splitlines()) > 1
    except FileNotFoundError:  # a kernel without CONFIG_SWAP
        return False
    except OSError as error:
        raise GroupError(f"reading /proc/swaps: {error.strerror}") from error


class V1Limits:
    """One group's directories in the v1 hierarchies: a job's, or with ``total`` a client's."""

    def __init__(
        self,
        mounts: dict[str, str],
        parent: str,
        name: str,
        controllers: Iterable[str] = (*CONTROLLERS, "freezer"),
        *,
        total: bool = False,
    ) -> None:
        self.paths = {
            controller: f"{mounts[controller]}{parent}/{name}"
            for controller in controllers
            if controller in mounts
        }
        self.entries: list[Enforcement] = []
        """As of the last look; ``as_set``: as it was when the limits were set."""
        self.as_set: tuple[Enforcement, ...] = ()
        self.files = ControlFiles()
        self._total = total
        self._made: list[str] = []

    def _directories(self) -> list[str]:
        """The directories, each once, because distributions mount cpu and cpuacct together."""
        return list(dict.fromkeys(self.paths.values()))

    def create(self, limits: ResourceLimits, device: str | None) -> None:
        """Makes the directories and sets the limits. Raises GroupError; the caller must then
        ``remove``."""
        for path in self._directories():
            make_directory(path)
            self._made.append(path)
        self.set(limits, device)

    def set(self, limits: ResourceLimits, device: str | None) -> None:
        """Sets every limit and reads it back. Raises GroupError."""
        self.files.forget()
        self.entries = [
            self._set_cpu(limits.cpu_cores),
            self._set_memory(limits.memory_bytes),
            self._set_disk("disk_read", "read", limits.disk_read_bytes_per_s, device),
            self._set_disk("disk_write", "write", limits.disk_write_bytes_per_s, device),
            self._set_processes(limits.processes),
        ]
        self.as_set = tuple(self.entries)

    def _put(self, limit: LimitName, path: str, value: str, *, keyed: bool = False) -> str:
        """As group_files.put, and remembers the file so that later looks compare it."""
        return self.files.note(limit, path, value, put(path, value), keyed=keyed)

    def _set_cpu(self, cores: float | None) -> Enforcement:
        if "cpu" not in self.paths or cores is None:
            return Enforcement("cpu", "unavailable", detail="no limit set" if cores is None else "")
        period = f"{self.paths['cpu']}/cpu.cfs_period_us"
        quota = f"{self.paths['cpu']}/cpu.cfs_quota_us"
        asked_us, period_us = quota_and_period_us(cores)
        period_text = read(period)
        if period_text != str(period_us):
            period_text = put(period, str(period_us))
        self.files.note("cpu", period, str(period_us), period_text)
        quota_text = self._put("cpu", quota, str(asked_us))
        return judge_quota(asked_us, period_us, quota_text, period_text)

    def _set_memory(self, asked: int | None) -> Enforcement:
        if "memory" not in self.paths:
            return Enforcement("memory", "unavailable")
        directory = self.paths["memory"]
        below = not self._total or _counts_below(directory)
        if asked is None:
            return Enforcement("memory", "unavailable", detail="no limit set")
        limit = f"{directory}/memory.limit_in_bytes"
        with_swap = f"{directory}/memory.memsw.limit_in_bytes"
        actual = self._put("memory", limit, str(asked))
        held = actual.isdigit() and 0 <= asked - int(actual) < PAGE_BYTES
        if not below:
            detail = "this kernel counts a group alone, not those below it together"
            return Enforcement("memory", "unavailable", actual, detail)
        try:
            swapped = self._put("memory", with_swap, str(asked))
        except GroupError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            if has_swap():
                return Enforcement("memory", "partial", actual, "swap is not limited")
        else:
            held = held and swapped.isdigit() and int(swapped) <= asked
        return Enforcement("memory", "enforced" if held else "unavailable", actual)

    def _set_disk(
        self, name: LimitName, direction: str, asked: int | None, device: str | None
    ) -> Enforcement:
        if self._total:
            detail = "no limit set" if asked is None else _NOT_BELOW
            return Enforcement(name, "unavailable", detail=detail)
        if "blkio" not in self.paths or device is None:
            return Enforcement(name, "unavailable", detail=NO_DISK)
        path = f"{self.paths['blkio']}/blkio.throttle.{direction}_bps_device"
        wanted = NO_LIMIT_BYTES_PER_S if asked is None else asked
        rules = self._put(name, path, f"{device} {wanted}", keyed=True)
        if asked is None:
            return Enforcement(name, "unavailable", detail="no limit set")
        actual = next((line.split()[1] for line in rules.splitlines() if _is_of(line, device)), "")
        held = actual == str(asked)
        return Enforcement(name, "partial" if held else "unavailable", actual, _DIRECT_ONLY)

    def _set_processes(self, asked: int | None) -> Enforcement:
        if "pids" not in self.paths or asked is None:
            return Enforcement(
                "processes", "unavailable", detail="no limit set" if asked is None else ""
            )
        actual = self._put("processes", f"{self.paths['pids']}/pids.max", str(asked))
        return Enforcement(
            "processes", "enforced" if actual == str(asked) else "unavailable", actual
        )

    def lift(self, names: Collection[LimitName], device: str | None) -> None:
        """Removes these limits, as far as the group can have them. Raises GroupError."""
        if "cpu" in names:
            self.lift_quota()
        if "memory" in names:
            # In this order, because the kernel refuses memory above memory with swap.
            self._lift("memory", "memory.memsw.limit_in_bytes", "-1")
            self._lift("memory", "memory.limit_in_bytes", "-1")
        if "processes" in names:
            self._lift("pids", "pids.max", "max")
        for name in ("read", "write"):
            if f"disk_{name}" in names and device is not None and not self._total:
                rule = f"{device} {NO_LIMIT_BYTES_PER_S}"
                self._lift("blkio", f"blkio.throttle.{name}_bps_device", rule)

    def _lift(self, controller: str, name: str, value: str) -> None:
        path = f"{self.paths.get(controller, '')}/{name}"
        if controller in self.paths and os.path.exists(path):
            write(path, value)

    def lift_quota(self) -> None:
        """Removes the CPU quota, so that the group may use all that its parent has. GroupError."""
        if "cpu" in self.paths:
            lift_quota(self.paths["cpu"])

    def usage_files(self) -> dict[str, str]:
        """Paths of the files with what the group has used, by name. Not every kernel has each."""
        return {
            key: f"{self.paths[controller]}/{file}"
            for key, (controller, file) in _USAGE.items()
            if controller in self.paths
        }

    def tasks_files(self) -> list[str]:
        """The tasks files, to which a process with one thread writes "0".

        Not cgroup.procs, because for a whole process the kernel first waits until no process forks
        or exits, 10 ms on an idle host. For a thread that moves itself it need not wait, since
        Linux 5.5 (cgroup_procs_write_start in kernel/cgroup/cgroup.c).
        """
        return [f"{path}/tasks" for path in self._directories()]

    def remove(self) -> bool:
        """Removes what ``create`` made; False if the kernel still uses a directory."""
        self._made = [path for path in self._made if not remove_tree(path)]
        return not self._made


def _counts_below(directory: str) -> bool:
    """Whether memory of groups below counts too. Switches it on, while there are none below.

    Since Linux 5.11 it is always on, and the file only reports it.
    """
    path = f"{directory}/memory.use_hierarchy"
    if not os.path.exists(path) or read(path) == "1":
        return True
    write(path, "1")
    return read(path) == "1"


def _is_of(line: str, device: str) -> bool:
    fields = line.split()
    return len(fields) == 2 and fields[0] == device
