"""Kernel text to numbers, from captured samples."""

from pathlib import Path

import pytest

from penstock.jobs.usage import Sampler, Usage, final, parse, with_rates

V1 = {  # captured on Linux 6.18, v1 controllers
    "cpuacct.usage": "3024728\n",
    "cpu.stat.v1": "nr_periods 120\nnr_throttled 100\nthrottled_time 2500000000\nnr_bursts 0\n",
    "memory.usage_in_bytes": "50331648\n",
    "memory.stat.v1": (
        "cache 20000000\nrss 10000000\ntotal_cache 20971520\ntotal_rss 29360128\n"
        "total_inactive_file 10485760\ntotal_active_file 8388608\n"
    ),
    "memory.max_usage_in_bytes": "60000000\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "blkio.throttle.io_service_bytes": (
        "254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 8192\n254:0 Async 4096\n"
        "254:0 Discard 0\n254:0 Total 12288\nTotal 12288\n"
    ),
    "blkio.throttle.io_serviced": "254:0 Read 1\n254:0 Write 2\n254:0 Total 3\nTotal 3\n",
    "pids.current.v1": "7\n",
}
V2 = {  # the formats of Documentation/admin-guide/cgroup-v2.rst
    "cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nthrottled_usec 250000\n",
    "memory.current": "50331648\n",
    "memory.stat": "anon 29360128\nfile 20971520\ninactive_file 10485760\nactive_file 8388608\n",
    "memory.peak": "60000000\n",
    "memory.events": "low 0\nhigh 0\nmax 5\noom 1\noom_kill 3\noom_group_kill 1\n",
    "io.stat": (
        "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"
        "8:0 rbytes=4 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n"
    ),
    "pids.current": "7\n",
}


def test_v1() -> None:
    """Memory is without file cache; I/O is summed over devices and counted once."""
    assert parse(V1) == Usage(
        cpu_total_s=0.003024728,
        throttled_s=2.5,
        memory_bytes=50331648 - 10485760 - 8388608,
        cache_bytes=20971520,
        memory_peak_bytes=60000000,
        read_bytes=4096,
        write_bytes=8192,
        operations=3,
        processes=7,
        oom_kills=3,
    )


def test_v2() -> None:
    """The same things under their v2 names; two devices are added up."""
    assert parse(V2) == Usage(
        cpu_total_s=1.5,
        throttled_s=0.25,
        memory_bytes=50331648 - 10485760 - 8388608,
        cache_bytes=20971520,
        memory_peak_bytes=60000000,
        read_bytes=4100,
        write_bytes=8192,
        operations=4,
        processes=7,
        oom_kills=3,
    )


@pytest.mark.parametrize("texts", [{}, {"cpu.stat": "nonsense\n\n"}, {"memory.usage_in_bytes": ""}])
def test_what_is_missing_is_nothing(texts: dict[str, str]) -> None:
    """Damaged and absent files never raise."""
    assert parse(texts) == Usage()


def test_rates_are_since_the_sample_before() -> None:
    """Percent of one core, bytes and operations a second; never below 0."""
    before = Usage(cpu_total_s=1.0, read_bytes=100, operations=10, sample_ns=0)
    now = Usage(cpu_total_s=1.5, read_bytes=300, operations=4, sample_ns=2_000_000_000)
    rates = with_rates(now, before)
    assert (rates.cpu_percent, rates.read_bytes_per_s, rates.operations_per_s) == (25, 100, 0)
    assert with_rates(now, now) == now


def test_a_sampler_survives_files_that_go(tmp_path: Path) -> None:
    """The group may be removed at any moment."""
    path = tmp_path / "cpuacct.usage"
    path.write_text("1000000000\n")
    sampler = Sampler({"cpuacct.usage": str(path)}, started_ns=0)
    assert sampler.sample().cpu_total_s == 1
    path.unlink()
    assert sampler.sample().cpu_total_s == 0


def test_final_counters_are_the_supervisors() -> None:
    """What is not counted on this host is 0."""
    usage = final({"cpu_total_s": 2.0, "read_ops": 1, "write_ops": 2}, ended_ns=5)
    assert (usage.cpu_total_s, usage.operations, usage.oom_kills) == (2.0, 3, 0)
