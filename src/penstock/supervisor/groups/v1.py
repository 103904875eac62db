"""cgroup v1: one directory per controller, limits in files of each.

docs/cgroups.md says which file holds which limit and what the kernel does with it.
"""

import os
from typing import Any, Final

from ..limits import Enforcement, Limits
from .files import GroupError, flat, read, read_pids, remove_tree, write
from .quota import judge_quota, quota_and_period_us

CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids", "blkio")
# blkio counts only while a throttle rule exists, so there is always one: this one never bites.
NO_LIMIT_BYTES_PER_S: Final = 2**60
_DIRECT_ONLY: Final = "direct I/O only; cgroup v1 does not throttle buffered writes"


def has_swap() -> bool:
    """Does this host have any swap? Raises GroupError if that cannot be known."""
    try:
        # Names of swap files are bytes; the first line is a heading.
        with open("/proc/swaps", "rb") as file:
            return len(file.read().splitlines()) > 1
    except FileNotFoundError:  # a kernel without CONFIG_SWAP
        return False
    except OSError as error:
        raise GroupError(f"reading /proc/swaps: {error.strerror}") from error


class V1Limits:
    """One job's directories in the v1 hierarchies."""

    def __init__(self, mounts: dict[str, str], parent: str, name: str) -> None:
        self.paths = {
            controller: os.path.join(mounts[controller] + parent, name)
            for controller in (*CONTROLLERS, "freezer")
            if controller in mounts
        }
        self.enforcement: list[Enforcement] = []

    def create(self, limits: Limits, device: str | None) -> None:
        """Makes the directories and sets the limits. Raises GroupError; the caller removes."""
        wanted, self.paths = self.paths, {}
        for controller, path in wanted.items():
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.mkdir(path)
            except OSError as error:
                raise GroupError(f"making {path}: {error.strerror}") from error
            self.paths[controller] = path  # only what was made here is removed
        self.enforcement = [
            self._set_cpu(limits.cpu_cores),
            self._set_memory(limits.memory_bytes),
            self._set_disk("disk_read", "read", limits.disk_read_bytes_per_s, device),
            self._set_disk("disk_write", "write", limits.disk_write_bytes_per_s, device),
            self._set_processes(limits.processes),
        ]

    def _set_cpu(self, cores: float | None) -> Enforcement:
        if "cpu" not in self.paths or cores is None:
            return Enforcement("cpu", "unavailable", detail="no limit set" if cores is None else "")
        period = os.path.join(self.paths["cpu"], "cpu.cfs_period_us")
        quota = os.path.join(self.paths["cpu"], "cpu.cfs_quota_us")
        asked_us, period_us = quota_and_period_us(cores)
        write(period, str(period_us))
        write(quota, str(asked_us))
        return judge_quota(asked_us, period_us, read(quota), read(period))

    def _set_memory(self, asked: int | None) -> Enforcement:
        if "memory" not in self.paths or asked is None:
            return Enforcement(
                "memory", "unavailable", detail="no limit set" if asked is None else ""
            )
        directory = self.paths["memory"]
        limit = os.path.join(directory, "memory.limit_in_bytes")
        with_swap = os.path.join(directory, "memory.memsw.limit_in_bytes")
        write(limit, str(asked))
        actual = int(read(limit))
        held = 0 < actual <= asked and asked - actual < os.sysconf("SC_PAGE_SIZE")
        if os.path.exists(with_swap):
            write(with_swap, str(asked))
            held = held and int(read(with_swap)) <= asked
        elif has_swap():
            return Enforcement("memory", "partial", str(actual), "swap is not limited")
        return Enforcement("memory", "enforced" if held else "unavailable", str(actual))

    def _set_disk(
        self, name: Any, direction: str, asked: int | None, device: str | None
    ) -> Enforcement:
        if "blkio" not in self.paths or device is None:
            return Enforcement(name, "unavailable", detail="the working directory is on no disk")
        path = os.path.join(self.paths["blkio"], f"blkio.throttle.{direction}_bps_device")
        wanted = NO_LIMIT_BYTES_PER_S if asked is None else asked
        write(path, f"{device} {wanted}")
        rules = dict(line.split() for line in read(path).splitlines())
        if asked is None:
            return Enforcement(name, "unavailable", detail="no limit set")
        actual = rules.get(device, "")
        held = actual == str(asked)
        return Enforcement(name, "partial" if held else "unavailable", actual, _DIRECT_ONLY)

    def _set_processes(self, asked: int | None) -> Enforcement:
        if "pids" not in self.paths or asked is None:
            return Enforcement(
                "processes", "unavailable", detail="no limit set" if asked is None else ""
            )
        path = os.path.join(self.paths["pids"], "pids.max")
        write(path, str(asked))
        actual = read(path)
        return Enforcement(
            "processes", "enforced" if actual == str(asked) else "unavailable", actual
        )

    def usage_files(self) -> dict[str, str]:
        """What the server reads while the job runs."""
        wanted = {
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
        return {
            key: os.path.join(self.paths[controller], file)
            for key, (controller, file) in wanted.items()
            if controller in self.paths
        }

    def counters(self) -> dict[str, Any]:
        """Final counters; what a missing controller would tell is left out."""
        files = self.usage_files()
        found: dict[str, Any] = {}
        if path := files.get("cpuacct.usage"):
            found["cpu_total_s"] = int(read(path)) / 1e9
        if path := files.get("cpu.stat.v1"):
            found["throttled_s"] = flat(read(path)).get("throttled_time", 0) / 1e9
        if path := files.get("memory.max_usage_in_bytes"):
            found["memory_peak_bytes"] = int(read(path))
        if path := files.get("memory.oom_control"):
            found["oom_kills"] = flat(read(path)).get("oom_kill", 0)
        for prefix, key in (("bytes", "io_service_bytes"), ("ops", "io_serviced")):
            if path := files.get(f"blkio.throttle.{key}"):
                # Lines are "<major:minor> <Read|Write|…> <n>", and a total at the end.
                lines = [line.split() for line in read(path).splitlines()]
                for word, name in (("Read", "read"), ("Write", "write")):
                    found[f"{name}_{prefix}"] = sum(
                        int(line[2]) for line in lines if len(line) == 3 and line[1] == word
                    )
        return found

    def pids(self) -> list[int]:
        """Members by the first hierarchy; they are in all of them."""
        return read_pids(os.path.join(next(iter(self.paths.values())), "cgroup.procs"))

    def procs_files(self) -> list[str]:
        """Every cgroup.procs file of this group."""
        return [os.path.join(path, "cgroup.procs") for path in self.paths.values()]

    def remove(self) -> bool:
        """Removes the directories; False if the kernel is not done with one."""
        return all([remove_tree(path) for path in self.paths.values()])
