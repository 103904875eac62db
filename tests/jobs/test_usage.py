"""Samples of usage, and rates between them."""

from dataclasses import asdict
from pathlib import Path

import pytest

from penstock.jobs.usage import Sampler, Usage, final, parse, with_rates
from penstock.supervisor.cgroups.counters import Pressure, Stall

V2 = {  # the formats of Documentation/admin-guide/cgroup-v2.rst
    "cpu.stat": "usage_usec 1500000\nnr_periods 9\nnr_throttled 4\nthrottled_usec 250000\n",
    "memory.current": "50331648\n",
    "memory.stat": "anon 29360128\nfile 20971520\ninactive_file 10485760\nactive_file 8388608\n",
    "memory.peak": "60000000\n",
    "memory.events": "low 0\nhigh 0\nmax 5\noom 1\noom_kill 3\noom_group_kill 1\n",
    "io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n",
    "pids.current": "7\n",
    "memory.pressure": "some avg10=0.50 avg60=0.00 avg300=0.00 total=1000\n",
}


def test_usage_is_the_counters_and_what_follows_from_them() -> None:
    """Memory is without cache of files; pressure only where the kernel tells it.

    How each kernel writes all of this is tested in tests/supervisor/cgroups/test_counters.py.
    """
    assert parse(V2) == Usage(
        cpu_total_s=1.5,
        periods=9,
        throttled_periods=4,
        throttled_s=0.25,
        memory_bytes=50331648 - 10485760 - 8388608,
        cache_bytes=20971520,
        memory_peak_bytes=60000000,
        read_bytes=4096,
        write_bytes=8192,
        read_operations=1,
        write_operations=2,
        processes=7,
        oom_kills=3,
        memory_pressure=Pressure(Stall(0.5, 0.0, 0.0, 0.001), None),
    )


def test_memory_is_never_below_nothing() -> None:
    """The cache can grow between the reading of the one file and of the other."""
    assert (
        parse({"memory.current": "4096\n", "memory.stat": "active_file 8192\n"}).memory_bytes == 0
    )


@pytest.mark.parametrize("texts", [{}, {"cpu.stat": "nonsense\n\n"}, {"memory.usage_in_bytes": ""}])
def test_what_is_missing_is_nothing(texts: dict[str, str]) -> None:
    """Damaged and absent files never raise, and no figure is made of them, not even 0."""
    assert parse(texts) == Usage()
    figures = {name: value for name, value in asdict(Usage()).items() if name != "sample_ns"}
    assert set(figures.values()) == {None}


def test_rates_are_since_the_sample_before() -> None:
    """Percent of one core, bytes and operations a second; never below 0."""
    before = Usage(
        cpu_total_s=1.0, read_bytes=100, read_operations=10, write_operations=0, sample_ns=0
    )
    now = Usage(
        cpu_total_s=1.5,
        read_bytes=300,
        read_operations=0,
        write_operations=4,
        sample_ns=2_000_000_000,
    )
    rates = with_rates(now, before)
    assert (rates.cpu_percent, rates.read_bytes_per_s, rates.operations_per_s) == (25, 100, 0)
    assert rates.write_bytes_per_s is None  # of what was not measured there is no rate
    assert with_rates(now, now) == now


def test_a_sampler_survives_files_that_go(tmp_path: Path) -> None:
    """The group may be removed at any moment; what was used until then is not 0."""
    path = tmp_path / "cpuacct.usage"
    path.write_text("1000000000\n")
    sampler = Sampler({"cpuacct.usage": str(path)}, started_ns=0)
    assert sampler.sample().cpu_total_s == 1
    path.unlink()
    gone = sampler.sample()
    assert (gone.cpu_total_s, gone.cpu_percent, gone.memory_bytes) == (None, None, None)


def test_final_counters_are_the_supervisors() -> None:
    """What is not counted on this host is unknown."""
    usage = final({"cpu_total_s": 2.0, "read_ops": 1, "write_ops": 2}, ended_ns=5)
    assert (usage.cpu_total_s, usage.operations, usage.oom_kills) == (2.0, 3, None)
