"""Reads what a group has used from the texts of its files, of any kernel (pure).

Keys of the texts are file names; v1 files that have the name of a v2 file have ``.v1`` behind.
Unknown keys and lines are ignored, because kernels differ in what they list and new ones list more.
A value that is missing, damaged or no number is left out: never an error, never a guess.

Sources: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{memory,cpuacct,blkio-controller}.rst,
scheduler/sched-bwc.rst and accounting/psi.rst of the kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Resource = Literal["cpu", "memory", "io"]
RESOURCES: Final[tuple[Resource, ...]] = ("cpu", "memory", "io")

# Counters that only grow over a job's life; also the fields of EMPTIED's counters.
COUNTED: Final = (
    *("cpu_total_s", "periods", "throttled_periods", "throttled_s", "memory_peak_bytes"),
    *("read_bytes", "write_bytes", "read_ops", "write_ops", "oom_kills"),
)

_V1_MEMORY: Final = frozenset(
    {"memory.usage_in_bytes", "memory.stat.v1", "memory.max_usage_in_bytes", "memory.oom_control"}
)


@dataclass(frozen=True, slots=True)
class Stall:
    """One line of a pressure file: percent of the last seconds, and the total."""

    avg10: float
    avg60: float
    avg300: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Pressure:
    """How long some, and how long all, tasks of a group waited for a resource.

    ``full`` is None where the kernel does not list it, as for cpu before Linux 5.13.
    """

    some: Stall
    full: Stall | None


@dataclass(frozen=True, slots=True)
class Counters:
    """What a group has used. None: the kernel does not count it here, or it could not be read."""

    cpu_total_s: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_s: float | None = None
    memory_used_bytes: int | None = None
    """Memory in use, page cache included."""
    reclaimable_bytes: int | None = None
    """Of that, pages of files, which the kernel takes back when it needs them."""
    cache_bytes: int | None = None
    memory_peak_bytes: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    read_ops: int | None = None
    write_ops: int | None = None
    processes: int | None = None
    oom_kills: int | None = None

    def counted(self) -> dict[str, float]:
        """The values of COUNTED that are known, by name."""
        found = {name: getattr(self, name) for name in COUNTED}
        return {name: value for name, value in found.items() if value is not None}


def parse(texts: Mapping[str, str]) -> Counters:
    """The counters in the files of one group, from all hierarchies that it is in."""
    throttling = flat(texts.get("cpu.stat.v1", texts.get("cpu.stat", "")))
    nanoseconds = number(texts.get("cpuacct.usage", ""))
    cpu_s = _scaled(flat(texts.get("cpu.stat", "")).get("usage_usec"), 1e6)
    throttled_s = _scaled(throttling.get("throttled_time"), 1e9)  # v1
    memory, used, peak, oom = _memory(texts)
    traffic = _traffic(texts)
    return Counters(
        cpu_total_s=cpu_s if nanoseconds is None else nanoseconds / 1e9,
        periods=throttling.get("nr_periods"),
        throttled_periods=throttling.get("nr_throttled"),
        throttled_s=_scaled(throttling.get("throttled_usec"), 1e6)
        if throttled_s is None
        else throttled_s,
        memory_used_bytes=used,
        reclaimable_bytes=_sum(memory.get("inactive_file"), memory.get("active_file")),
        cache_bytes=memory.get("file"),
        memory_peak_bytes=peak,
        read_bytes=traffic.get("rbytes"),
        write_bytes=traffic.get("wbytes"),
        read_ops=traffic.get("rios"),
        write_ops=traffic.get("wios"),
        processes=number(texts.get("pids.current.v1", texts.get("pids.current", ""))),
        oom_kills=oom,
    )


def parse_pressure(text: str) -> Pressure | None:
    """Reads a ``*.pressure`` file; None if it has no line for ``some``."""
    stalls: dict[str, Stall] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()[:5] or [""]
        values = dict(pair.partition("=")[::2] for pair in pairs)
        averages = [_percent(values.get(f"avg{seconds}", "")) for seconds in (10, 60, 300)]
        total_us = number(values.get("total", ""))
        if total_us is not None and None not in averages:
            ten, sixty, more = (average or 0.0 for average in averages)
            stalls[kind] = Stall(ten, sixty, more, total_us / 1e6)
    return Pressure(stalls["some"], stalls.get("full")) if "some" in stalls else None


def flat(text: str) -> dict[str, int]:
    """Reads a flat-keyed file of "key number" lines; other lines are left out."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key and (counted := number(value)) is not None:
            found[key] = counted
    return found


def number(text: str) -> int | None:
    """A whole number not below 0; None for ``max``, an empty text and anything else."""
    text = text.strip()
    # Bounded, because a count of the kernel has 64 bits, and int() raises on thousands of digits.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def _memory(
    texts: Mapping[str, str],
) -> tuple[dict[str, int], int | None, int | None, int | None]:
    """memory.stat by v2's keys; bytes in use, the peak, and how many the OOM killer has ended."""
    if not _V1_MEMORY.isdisjoint(texts):
        v1 = flat(texts.get("memory.stat.v1", ""))
        keys = {
            "file": "total_cache",
            "inactive_file": "total_inactive_file",
            "active_file": "total_active_file",
        }
        return (
            {key: v1[old] for key, old in keys.items() if old in v1},
            number(texts.get("memory.usage_in_bytes", "")),
            number(texts.get("memory.max_usage_in_bytes", "")),
            flat(texts.get("memory.oom_control", "")).get("oom_kill"),
        )
    return (
        flat(texts.get("memory.stat", "")),
        number(texts.get("memory.current", "")),
        number(texts.get("memory.peak", "")),
        flat(texts.get("memory.events", "")).get("oom_kill"),
    )


def _traffic(texts: Mapping[str, str]) -> dict[str, int]:
    """Sums over all disks, by the keys of v2's io.stat; a missing file gives no sum."""
    if "io.stat" in texts:
        found = dict.fromkeys(("rbytes", "wbytes", "rios", "wios"), 0)
        for line in texts["io.stat"].splitlines():
            for pair in line.split()[1:]:
                key, _, value = pair.partition("=")
                if key in found:
                    found[key] += number(value) or 0
        return found
    found = {}
    for name, unit in (("io_service_bytes", "bytes"), ("io_serviced", "ios")):
        text = texts.get(f"blkio.throttle.{name}")
        if text is None:
            continue
        # "<major:minor> Read 1", and again in Sync, Async, Discard and Total.
        lines = [line.split() for line in text.splitlines()]
        for word, letter in (("Read", "r"), ("Write", "w")):
            counts = [number(line[2]) or 0 for line in lines if len(line) == 3 and line[1] == word]
            found[letter + unit] = sum(counts)
    return found


def _percent(text: str) -> float | None:
    whole, dot, part = text.partition(".")
    if dot and number(whole) is not None and number(part) is not None:
        return float(f"{whole}.{part}")
    return None


def _scaled(count: int | None, unit: float) -> float | None:
    return None if count is None else count / unit


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)
