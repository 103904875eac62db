"""What a job uses now: kernel text to numbers (pure), and sampling apart from it.

Keys of the texts are those of Started.usage_files: v2 file names as they are, v1 files
that would collide with them with ``.v1`` behind.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """One sample. Rates are since the sample before; 0 in the first."""

    cpu_percent: float = 0.0
    cpu_total_s: float = 0.0
    throttled_s: float = 0.0
    memory_bytes: int = 0
    cache_bytes: int = 0
    memory_peak_bytes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    read_bytes_per_s: float = 0.0
    write_bytes_per_s: float = 0.0
    operations_per_s: float = 0.0
    operations: int = 0
    processes: int = 0
    oom_kills: int = 0
    sample_ns: int = 0


def flat(text: str) -> dict[str, int]:
    """A flat-keyed file: one "key number" a line; other lines are left out."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.rpartition(" ")
        if key and value.isdigit():
            found[key] = int(value)
    return found


def parse(texts: Mapping[str, str]) -> Usage:
    """Counters of one moment; what is missing is 0."""
    if "cpuacct.usage" in texts or "memory.usage_in_bytes" in texts:
        return _parse_v1(texts)
    return _parse_v2(texts)


def _parse_v1(texts: Mapping[str, str]) -> Usage:
    memory = flat(texts.get("memory.stat.v1", ""))
    used = _number(texts.get("memory.usage_in_bytes", ""))
    reclaimable = memory.get("total_inactive_file", 0) + memory.get("total_active_file", 0)
    by_bytes = _blkio(texts.get("blkio.throttle.io_service_bytes", ""))
    by_operations = _blkio(texts.get("blkio.throttle.io_serviced", ""))
    return Usage(
        cpu_total_s=_number(texts.get("cpuacct.usage", "")) / 1e9,
        throttled_s=flat(texts.get("cpu.stat.v1", "")).get("throttled_time", 0) / 1e9,
        memory_bytes=max(0, used - reclaimable),
        cache_bytes=memory.get("total_cache", 0),
        memory_peak_bytes=_number(texts.get("memory.max_usage_in_bytes", "")),
        read_bytes=by_bytes.get("Read", 0),
        write_bytes=by_bytes.get("Write", 0),
        operations=by_operations.get("Read", 0) + by_operations.get("Write", 0),
        processes=_number(texts.get("pids.current.v1", "")),
        oom_kills=flat(texts.get("memory.oom_control", "")).get("oom_kill", 0),
    )


def _parse_v2(texts: Mapping[str, str]) -> Usage:
    cpu = flat(texts.get("cpu.stat", ""))
    memory = flat(texts.get("memory.stat", ""))
    used = _number(texts.get("memory.current", ""))
    reclaimable = memory.get("inactive_file", 0) + memory.get("active_file", 0)
    io: dict[str, int] = {}
    for line in texts.get("io.stat", "").splitlines():
        for pair in line.split()[1:]:
            key, _, value = pair.partition("=")
            io[key] = io.get(key, 0) + _number(value)
    return Usage(
        cpu_total_s=cpu.get("usage_usec", 0) / 1e6,
        throttled_s=cpu.get("throttled_usec", 0) / 1e6,
        memory_bytes=max(0, used - reclaimable),
        cache_bytes=memory.get("file", 0),
        memory_peak_bytes=_number(texts.get("memory.peak", "")),
        read_bytes=io.get("rbytes", 0),
        write_bytes=io.get("wbytes", 0),
        operations=io.get("rios", 0) + io.get("wios", 0),
        processes=_number(texts.get("pids.current", "")),
        oom_kills=flat(texts.get("memory.events", "")).get("oom_kill", 0),
    )


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0


def _blkio(text: str) -> dict[str, int]:
    """Sums over devices of "<major:minor> <word> <number>" lines."""
    totals: dict[str, int] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3:
            totals[fields[1]] = totals.get(fields[1], 0) + _number(fields[2])
    return totals


def with_rates(now: Usage, before: Usage) -> Usage:
    """The sample with its rates since another one."""
    seconds = (now.sample_ns - before.sample_ns) / 1e9
    if seconds <= 0:
        return now
    return replace(
        now,
        cpu_percent=max(0.0, now.cpu_total_s - before.cpu_total_s) / seconds * 100,
        read_bytes_per_s=max(0, now.read_bytes - before.read_bytes) / seconds,
        write_bytes_per_s=max(0, now.write_bytes - before.write_bytes) / seconds,
        operations_per_s=max(0, now.operations - before.operations) / seconds,
    )


class Sampler:
    """Samples one job's files; the first rates are those since its start."""

    def __init__(self, files: Mapping[str, str], started_ns: int) -> None:
        self._files = files
        self._before = Usage(sample_ns=started_ns)

    def sample(self) -> Usage:
        """Reads the files now; a file that is gone counts as empty. Never waits long."""
        texts = {}
        for key, path in self._files.items():
            try:
                with open(path, encoding="ascii") as file:
                    texts[key] = file.read()
            except OSError:
                continue
        now = replace(parse(texts), sample_ns=time.time_ns())
        sample = with_rates(now, self._before)
        self._before = now
        return sample


def final(counters: Mapping[str, Any], ended_ns: int) -> Usage:
    """What the supervisor counted at the end."""
    return Usage(
        cpu_total_s=counters.get("cpu_total_s", 0.0),
        throttled_s=counters.get("throttled_s", 0.0),
        memory_peak_bytes=counters.get("memory_peak_bytes", 0),
        read_bytes=counters.get("read_bytes", 0),
        write_bytes=counters.get("write_bytes", 0),
        operations=counters.get("read_ops", 0) + counters.get("write_ops", 0),
        oom_kills=counters.get("oom_kills", 0),
        sample_ns=ended_ns,
    )
