"""Classes of limits and their units (pure).

100% CPU is one core, as for systemd's CPUQuota= and top. MB is 10^6 bytes, MiB 2^20.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

LimitName = Literal[
    "cpu", "memory", "disk_read", "disk_write", "processes", "output", "storage", "files"
]
# Those that a cgroup holds, which a client's jobs can have together too.
GROUP_LIMIT_NAMES: Final[tuple[LimitName, ...]] = (
    "cpu",
    "memory",
    "disk_read",
    "disk_write",
    "processes",
)
# How much a job may have on the disk at a time, in its own directories.
STORAGE_LIMIT_NAMES: Final[tuple[LimitName, ...]] = ("storage", "files")
# The server itself holds the bandwidth of output, because it reads the pipes.
LIMIT_NAMES: Final[tuple[LimitName, ...]] = (*GROUP_LIMIT_NAMES, "output", *STORAGE_LIMIT_NAMES)
# These do not bound how much a job may use, but what of the host it can see and change.
IsolationName = Literal[
    "isolation.filesystem",
    "isolation.ipc",
    "isolation.uts",
    "isolation.network",
    "isolation.pid",
    "isolation.seccomp",
    "isolation.landlock",
]
ISOLATION_NAMES: Final[tuple[IsolationName, ...]] = (
    "isolation.filesystem",
    "isolation.ipc",
    "isolation.uts",
    "isolation.network",
    "isolation.pid",
    "isolation.seccomp",
    "isolation.landlock",
)

State = Literal["enforced", "partial", "unavailable"]
Need = Literal["required", "best_effort", "direct_io", "watched"]

_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_SIZE = re.compile(r"(\d{1,12})\s*([A-Za-z]{1,3})", re.ASCII)
_PERCENT = re.compile(r"(\d{1,5}(?:\.\d{1,2})?)\s*%", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes in ``"100MB"`` or ``"64 MiB"``. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError(f"{text!r} is not a size such as '100MB' or '64MiB'")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_rate(text: str) -> int:
    """Bytes a second in ``"10MB/s"``. Raises ValueError."""
    size, slash, unit = text.partition("/")
    if not slash or unit != "s":
        raise ValueError(f"{text!r} is not a rate such as '10MB/s'")
    return parse_size(size.strip())


def parse_cores(text: str) -> float:
    """Cores in ``"10%"``: 0.1. Raises ValueError."""
    match = _PERCENT.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is not a share of a core such as '10%'")
    return float(match[1]) / 100


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """What a job may use; None is no limit."""

    cpu_cores: float | None = None
    memory_bytes: int | None = None
    disk_read_bytes_per_s: int | None = None
    disk_write_bytes_per_s: int | None = None
    processes: int | None = None
    output_bytes_per_s: int | None = None
    storage_bytes: int | None = None
    files: int | None = None

    def fields(self) -> dict[str, object]:
        """By name. Not dataclasses.asdict, because that copies and takes five times as long, and
        every start reports these."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def asked(self, name: LimitName) -> float | int | None:
        """The value of one limit by its policy name."""
        return {
            "cpu": self.cpu_cores,
            "memory": self.memory_bytes,
            "disk_read": self.disk_read_bytes_per_s,
            "disk_write": self.disk_write_bytes_per_s,
            "processes": self.processes,
            "output": self.output_bytes_per_s,
            "storage": self.storage_bytes,
            "files": self.files,
        }[name]


@dataclass(frozen=True, slots=True)
class Enforcement:
    """What became of one limit or isolation, as read back from the kernel after it was set.

    ``enforced``: the kernel holds what was asked. ``partial``: it holds a part, which ``detail``
    names. ``unavailable``: it holds nothing.
    """

    limit: LimitName | IsolationName
    state: State
    actual: str = ""
    detail: str = ""

    def fields(self) -> dict[str, object]:
        """By name, as a JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


# In an entry's detail, when another program has written the limit's file since it was set.
CHANGED_OUTSIDE: Final = "changed from outside"

# Where the file system has no quotas (project_quota), penstock looks itself (storage_watch).
HOW_STORAGE_IS_HELD: Final[dict[LimitName, str]] = {
    "storage": "looked at each second; the length of each file by the kernel",
    "files": "looked at each second",
}


def with_quotas(limits: Iterable[Enforcement], quotas: Iterable[Enforcement]) -> list[Enforcement]:
    """The same entries, with those replaced that a quota of the file system holds better."""
    better = {entry.limit: entry for entry in quotas}
    return [better.get(entry.limit, entry) for entry in limits]


def held_without_groups() -> list[Enforcement]:
    """The limits that no cgroup holds, as penstock holds them on every host without help."""
    storage = [
        Enforcement(name, "partial", detail=how) for name, how in HOW_STORAGE_IS_HELD.items()
    ]
    return [Enforcement("output", "enforced", detail="kept by penstock itself"), *storage]


@dataclass(frozen=True, slots=True)
class Rlimit:
    """One limit of setrlimit(2), which is of a single process: what the process may use, and how
    far it may raise that itself. None is no limit."""

    soft: int | None
    hard: int | None


@dataclass(frozen=True, slots=True)
class LimitClass:
    """A named set of limits: a class, for each job, or a client's, for all its jobs together.

    ``needs`` has an entry for every limit name. ``isolation`` says how much the class needs the
    isolation of its jobs, None where it says nothing. ``rlimits`` are those that the class sets,
    by the names of rlimit_policy.DEFAULTS.
    """

    name: str
    limits: ResourceLimits
    needs: dict[LimitName, Need] = field(hash=False)
    isolation: Need | None = None
    rlimits: Mapping[str, Rlimit] = field(default_factory=dict, hash=False)

    def unmet(self, held: Sequence[Enforcement]) -> list[Enforcement]:
        """Limits that this class requires and that the kernel does not hold.

        A limit that the class does not set is never unmet. ``direct_io`` and ``watched`` accept
        ``partial``, because cgroup v1 holds a disk bandwidth for direct I/O only, and because a
        file system without quotas leaves only looking now and then.
        """
        states = {entry.limit: entry for entry in held}
        missing: list[Enforcement] = []
        for name in LIMIT_NAMES:
            need = self.needs[name]
            if self.limits.asked(name) is None or need == "best_effort":
                continue
            entry = states.get(name, Enforcement(name, "unavailable"))
            accepted = ("enforced",) if need == "required" else ("enforced", "partial")
            if entry.state not in accepted:
                missing.append(entry)
        return missing


NO_LIMITS: Final = LimitClass("", ResourceLimits(), dict.fromkeys(LIMIT_NAMES, "required"))
