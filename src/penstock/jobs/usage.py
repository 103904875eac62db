"""What a job uses now: samples of its group's files, and rates between two of them.

What the texts mean is supervisor/cgroups/counters.py's; its keys are those of Started.usage_files.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..supervisor.cgroups.counters import COUNTED, RESOURCES, Counters, Pressure, parse_pressure
from ..supervisor.cgroups.counters import parse as parse_counters


@dataclass(frozen=True, slots=True)
class Usage:
    """One sample. Rates are since the sample before. None is what was not measured, because the
    kernel does not count it, there is no group that it would count in, or it could not be read.
    """

    cpu_percent: float | None = None
    cpu_total_s: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_s: float | None = None
    memory_bytes: int | None = None
    cache_bytes: int | None = None
    memory_peak_bytes: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    read_bytes_per_s: float | None = None
    write_bytes_per_s: float | None = None
    read_operations: int | None = None
    write_operations: int | None = None
    operations_per_s: float | None = None
    processes: int | None = None
    oom_kills: int | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
    sample_ns: int = 0

    @property
    def operations(self) -> int | None:
        """Reads and writes together; None if either was not measured."""
        if self.read_operations is None or self.write_operations is None:
            return None
        return self.read_operations + self.write_operations


def parse(texts: Mapping[str, str]) -> Usage:
    """Counters of one moment from the texts of a group's files; without rates or time."""
    cpu, memory, io = (parse_pressure(texts.get(f"{name}.pressure", "")) for name in RESOURCES)
    usage = _of(parse_counters(texts))
    return replace(usage, cpu_pressure=cpu, memory_pressure=memory, io_pressure=io)


def _of(counters: Counters) -> Usage:
    """The same, as clients know it."""
    memory_bytes = counters.memory_used_bytes
    if memory_bytes is not None:
        # Not below 0, because the two are read one after the other, so the second can be larger.
        memory_bytes = max(0, memory_bytes - (counters.reclaimable_bytes or 0))
    return Usage(
        cpu_total_s=counters.cpu_total_s,
        periods=counters.periods,
        throttled_periods=counters.throttled_periods,
        throttled_s=counters.throttled_s,
        memory_bytes=memory_bytes,
        cache_bytes=counters.cache_bytes,
        memory_peak_bytes=counters.memory_peak_bytes,
        read_bytes=counters.read_bytes,
        write_bytes=counters.write_bytes,
        read_operations=counters.read_ops,
        write_operations=counters.write_ops,
        processes=counters.processes,
        oom_kills=counters.oom_kills,
    )


def with_rates(now: Usage, before: Usage) -> Usage:
    """The sample with its rates, per second and in percent of one CPU, since another one."""
    seconds = (now.sample_ns - before.sample_ns) / 1e9
    if seconds <= 0:
        return now
    return replace(
        now,
        cpu_percent=_rate(now.cpu_total_s, before.cpu_total_s, seconds / 100),
        read_bytes_per_s=_rate(now.read_bytes, before.read_bytes, seconds),
        write_bytes_per_s=_rate(now.write_bytes, before.write_bytes, seconds),
        operations_per_s=_rate(now.operations, before.operations, seconds),
    )


def _rate(now: float | None, before: float | None, seconds: float) -> float | None:
    return None if now is None or before is None else max(0.0, now - before) / seconds


class Sampler:
    """Samples one job's files; the first rates are those since its start."""

    def __init__(self, files: Mapping[str, str], started_ns: int) -> None:
        self._files = files
        self._before = Usage(
            cpu_total_s=0.0,
            read_bytes=0,
            write_bytes=0,
            read_operations=0,
            write_operations=0,
            sample_ns=started_ns,
        )

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
    """What the supervisor counted at the end, as a sample of that moment; without rates."""
    counted = {name: counters.get(name) for name in COUNTED}
    return replace(_of(Counters(**counted)), sample_ns=ended_ns)
