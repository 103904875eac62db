"""What a job uses now: samples of its group's files, and rates between two of them.

What the texts mean is supervisor/counters.py's; its keys are those of Started.usage_files.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..supervisor.counters import RESOURCES, Pressure, parse_pressure
from ..supervisor.counters import parse as parse_counters


@dataclass(frozen=True, slots=True)
class Usage:
    """One sample. Rates are since the sample before; 0 in the first.

    What the kernel does not count is 0; what it says about pressure may be None.
    """

    cpu_percent: float = 0.0
    cpu_total_s: float = 0.0
    periods: int = 0
    throttled_periods: int = 0
    throttled_s: float = 0.0
    memory_bytes: int = 0
    cache_bytes: int = 0
    memory_peak_bytes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    read_bytes_per_s: float = 0.0
    write_bytes_per_s: float = 0.0
    read_operations: int = 0
    write_operations: int = 0
    operations_per_s: float = 0.0
    processes: int = 0
    oom_kills: int = 0
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
    sample_ns: int = 0

    @property
    def operations(self) -> int:
        """Reads and writes."""
        return self.read_operations + self.write_operations


def parse(texts: Mapping[str, str]) -> Usage:
    """Counters of one moment; what is missing is 0, or None."""
    counters = parse_counters(texts)
    cpu, memory, io = (parse_pressure(texts.get(f"{name}.pressure", "")) for name in RESOURCES)
    used, reclaimable = counters.memory_used_bytes or 0, counters.reclaimable_bytes or 0
    return Usage(
        cpu_total_s=counters.cpu_total_s or 0.0,
        periods=counters.periods or 0,
        throttled_periods=counters.throttled_periods or 0,
        throttled_s=counters.throttled_s or 0.0,
        # The two are read one after the other, so the second can be the larger one.
        memory_bytes=max(0, used - reclaimable),
        cache_bytes=counters.cache_bytes or 0,
        memory_peak_bytes=counters.memory_peak_bytes or 0,
        read_bytes=counters.read_bytes or 0,
        write_bytes=counters.write_bytes or 0,
        read_operations=counters.read_ops or 0,
        write_operations=counters.write_ops or 0,
        processes=counters.processes or 0,
        oom_kills=counters.oom_kills or 0,
        cpu_pressure=cpu,
        memory_pressure=memory,
        io_pressure=io,
    )


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
        """Reads the files now; one that is gone counts as missing. Never waits long."""
        texts = {}
        for key, path in self._files.items():
            try:
                with open(path, encoding="ascii", errors="replace") as file:
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
        periods=counters.get("periods", 0),
        throttled_periods=counters.get("throttled_periods", 0),
        throttled_s=counters.get("throttled_s", 0.0),
        memory_peak_bytes=counters.get("memory_peak_bytes", 0),
        read_bytes=counters.get("read_bytes", 0),
        write_bytes=counters.get("write_bytes", 0),
        read_operations=counters.get("read_ops", 0),
        write_operations=counters.get("write_ops", 0),
        oom_kills=counters.get("oom_kills", 0),
        sample_ns=ended_ns,
    )
