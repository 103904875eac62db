"""Limits, by the kernel's own count: real jobs, real cgroups, through the whole server."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import SERVER_UID, RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.supervisor.cgroups.counters import flat

pytestmark = pytest.mark.root

COMMANDS = (
    script("spin", "while :; do :; done", limits="small")
    + script("hog", "tail /dev/zero", limits="small")
    + script("direct", "dd if=/dev/zero of=f bs=1M count=30 oflag=direct", limits="small")
    + script("buffered", "dd if=/dev/zero of=f bs=1M count=30 conv=fsync", limits="small")
    + script("bomb", "b() { b | b & }; b; b; echo armed; sleep 300", limits="small", grace="100ms")
    + script(
        "daemons",
        "for i in 1 2 3 4; do "
        "setsid sh -c \"trap '' TERM; "
        'setsid sleep 300 & echo ready; sleep 300; sleep 300" & done; '
        "trap '' TERM; echo ready; sleep 300; sleep 300",
        grace="100ms",
    )
)
CLIENTS = '[clients.alice]\ncommands = ["spin", "hog", "direct", "buffered", "bomb", "daemons"]\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def members(server: RunningServer) -> set[int]:
    """Every process in any group of this server. One that is being removed meanwhile has none."""
    found: set[int] = set()
    for group in server.groups():
        with contextlib.suppress(OSError):
            found.update(int(pid) for pid in (group / "cgroup.procs").read_text().split())
    return found


def cpu_used_s(server: RunningServer) -> float:
    """Of all jobs that run, by cpuacct or by the v2 mount, whichever has groups."""
    jobs = [path for path in server.groups() if len(path.name) == 32]
    counts = [path / "cpuacct.usage" for path in jobs if (path / "cpuacct.usage").exists()]
    if counts:
        return sum(int(path.read_text()) for path in counts) / 1e9
    stats = [path / "cpu.stat" for path in jobs if (path / "cgroup.events").exists()]
    return sum(flat(path.read_text())["usage_usec"] for path in stats) / 1e6


async def written_bytes_per_s(client: Client, command: str) -> float:
    """Of a job that writes 30 MiB, by the kernel's count, over its whole life."""
    job = await client.start(command)
    ended = await client.wait(job.handle)
    assert ended.end.exit_code == 0
    assert ended.end.write_bytes >= 30 * 2**20
    return ended.end.write_bytes / ((ended.end.ended_ns - job.started_ns) / 1e9)


def is_alive(pid: int) -> bool:
    """Not gone, and not a zombie that only waits for init to collect it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rsplit(")", 1)[1].split()[0] not in "ZX"


@pytest.mark.alone
async def test_a_ten_percent_job_gets_ten_percent(server: RunningServer) -> None:
    """Between 5 and 13% of a core, by the kernel, over three seconds, and held back for it."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("spin")
        before, begin = cpu_used_s(server), time.monotonic()
        # Not a synchronisation: the time is what is measured over.
        import trio

        await trio.sleep(3)
        share = (cpu_used_s(server) - before) / (time.monotonic() - begin)
        answer = await client.status(job.handle)
        await client.stop(job.handle)
    assert 0.05 <= share <= 0.13
    assert answer.usage.throttled_s > 0
    assert re.search(r"^It was throttled for \S+ by its CPU limit\.$", answer.status, re.MULTILINE)
    assert 5 <= answer.usage.cpu_percent <= 15


async def test_a_job_over_its_memory_is_killed_and_says_so(server: RunningServer) -> None:
    """The end record says out of memory, with the kernel's count and the peak at the limit."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("hog")
        ended = await client.wait(job.handle)
        answer = await client.status(job.handle)
    assert ended.end.reason == "out_of_memory"
    assert ended.end.oom_kills >= 1
    assert 90_000_000 <= ended.end.memory_peak_bytes <= 100_000_000
    assert answer.status.startswith(f"Job {job.handle} was killed: out of memory.")


@pytest.mark.alone
async def test_direct_writes_are_held_to_the_disk_limit(server: RunningServer) -> None:
    """30 MiB with O_DIRECT at 10 MB/s: not 30% more than that."""
    async with connect(server.endpoint("alice")) as client:
        assert await written_bytes_per_s(client, "direct") <= 13e6


async def test_buffered_writes_are_held_on_v2(server: RunningServer) -> None:
    """Written back as the job's own, and throttled then; what v1 does not, and says."""
    async with connect(server.endpoint("alice")) as client:
        if (await client.server_info()).cgroups != "v2":
            pytest.skip("cgroup v1 throttles no buffered writes")
        assert await written_bytes_per_s(client, "buffered") <= 13e6


async def test_a_fork_bomb_is_contained_and_dead_after_stop(server: RunningServer) -> None:
    """Never more processes than its class has, and none when stop has answered."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("bomb")
        async with client.stream(job.handle) as messages:
            async for message in messages:
                if b"armed" in message.data or message.HasField("finished"):
                    break
        assert len(members(server)) <= 64
        answer = await client.stop(job.handle)
        assert members(server) == set()
    assert answer.job.end.reason in ("stopped", "exited")


async def test_a_tree_of_daemons_is_gone_when_stop_returns(server: RunningServer) -> None:
    """setsid, double forks and ignored TERM: KILL was needed, and nothing is left."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("daemons")
        said = b""
        async with client.stream(job.handle) as messages:
            async for message in messages:
                said += message.data
                if said.count(b"ready") == 5:  # each shell has started what it starts
                    break
        tree = members(server)
        assert len(tree) >= 9
        answer = await client.stop(job.handle)
        assert not [pid for pid in tree if is_alive(pid)]
        assert members(server) == set()
    assert answer.escalated
    assert answer.processes_killed >= 9
    assert answer.job.end.signal == 9


async def test_every_limit_is_reported_as_read_back(server: RunningServer) -> None:
    """Enforcement says what the kernel holds: memory rounded to a page, disk partial on v1."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("spin")
        await client.stop(job.handle, grace_s=0)
    found = {entry.limit: (entry.state, entry.actual) for entry in job.enforcement}
    assert found["cpu"] == ("enforced", "10000us/100000us")
    assert found["memory"] == ("enforced", "99999744")
    assert found["disk_write"] in (("partial", "10000000"), ("enforced", "10000000"))
    assert found["processes"] == ("enforced", "64")
    assert found["output"] == ("enforced", "10000000")


def test_the_server_is_not_root_and_holds_nothing_of_root(server: RunningServer) -> None:
    """Uid, groups, capabilities and no_new_privs, by /proc."""
    text = Path(f"/proc/{server.server_pid()}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(SERVER_UID)] * 4
    assert fields["Gid"].split() == [str(SERVER_UID)] * 4
    assert fields["Groups"].strip() == ""
    assert {int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert fields["NoNewPrivs"] == "1"
