"""What a client's jobs may use together: real jobs and groups, through the whole server."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from patience import patient
from restarts import connected_again, kill_server
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.operate.control_client import ControlAnswer, ask
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.supervisor.cgroups import group_name

pytestmark = pytest.mark.root

HOLD = "exec /usr/bin/python3 -I -c 'b = bytearray({}); print(1, flush=True); import time; {}'"
COMMANDS = (
    script("hold", HOLD.format(60_000_000, "time.sleep(300)"))
    + script("hold-more", HOLD.format(80_000_000, "time.sleep(300)"))
    + script("say", "echo 1")
    + script("cache", "dd if=/dev/zero of=f bs=1M count=60; sync f; echo 1; exec sleep 300")
    + script("spin", "echo 1; while :; do :; done")
    + script("fork", "for i in 1 2 3 4 5 6 7 8; do sleep 300 & done; echo 1; wait")
    + '[classes.core]\ncpu = "100%"\noutput = "unlimited"\n'
    + script("spin-core", "echo 1; while :; do :; done", limits="core")
)
CLIENTS = """
[clients.alice]
commands = ["hold", "hold-more", "say", "spin", "spin-core", "fork", "cache"]
[clients.alice.limits]
cpu = "20%"
memory = "120MB"
processes = 12

[clients.bob]
commands = ["hold", "hold-more"]

[clients.carol]
commands = ["say"]
[clients.carol.limits]
disk = "10MB/s"
memory = "1GB"
needs = { disk = "@need" }
"""


def policy(need: str = "required") -> str:
    return policy_text(COMMANDS, CLIENTS.replace("@need", need))


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy()) as server:
        yield server


async def start(client: Client, command: str) -> pb.Job:
    """A job that has printed its line."""
    job = await client.start(command)
    async with client.stream(job.handle) as messages:
        async for message in messages:
            if message.data or message.HasField("finished"):
                break
    return job


@asynccontextmanager
async def started(client: Client, command: str) -> AsyncIterator[pb.Job]:
    """The same; it is stopped at the end, if the test fails by the server's."""
    job = await start(client, command)
    yield job
    await client.stop(job.handle, grace_s=0)


def directories(server: RunningServer, client: str) -> list[Path]:
    return [
        life / group_name(client) for parent in server.parents() for life in parent.glob("life-*")
    ]


async def test_over_its_total_a_client_loses_a_job_and_nobody_else_does(
    server: RunningServer,
) -> None:
    """Alice's two jobs want more memory than she has: one of them is killed, and says so.

    On v2 sometimes both: while the memory of the first is given back, the kernel does not see
    its processes any more, and picks again (css_task_iter_advance in kernel/cgroup/cgroup.c).
    Bob's, which is larger than either, lives: it is not among those that the kernel picks from.
    """
    async with (
        connect(server.endpoint("alice")) as alice,
        connect(server.endpoint("bob")) as bob,
        started(bob, "hold-more") as bobs,
        started(alice, "hold") as first,
    ):
        second = await alice.start("hold-more")
        ends = []

        async def wait_for(handle: str, scope: trio.CancelScope) -> None:
            ends.append((await alice.wait(handle)).end)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            for handle in (first.handle, second.handle):
                nursery.start_soon(wait_for, handle, nursery.cancel_scope)
        assert [(end.reason, end.oom_kills > 0) for end in ends] == [("out_of_memory", True)]
        states = [
            (await alice.status(handle)).job.state for handle in (first.handle, second.handle)
        ]
        both = (await alice.server_info()).cgroups == "v2"
        assert states.count(pb.JOB_STATE_FINISHED) in ((1, 2) if both else (1,))
        assert (await bob.status(bobs.handle)).job.state == pb.JOB_STATE_RUNNING
        await alice.stop(second.handle, grace_s=0)


@pytest.mark.slow
@pytest.mark.alone
async def test_jobs_share_the_total_of_cpu(server: RunningServer) -> None:
    """Two that spin, one of a class with a whole core, get 20% between them."""
    async with (
        connect(server.endpoint("alice")) as alice,
        started(alice, "spin") as one,
        started(alice, "spin-core") as other,
    ):
        before = [(await alice.status(job.handle)).usage.cpu_total_s for job in (one, other)]
        begin = time.monotonic()
        await trio.sleep(2)  # no synchronisation: the time is what is measured over
        after = [(await alice.status(job.handle)).usage.cpu_total_s for job in (one, other)]
        share = (sum(after) - sum(before)) / (time.monotonic() - begin)
    assert 0.15 <= share <= 0.26


async def test_jobs_share_the_total_of_processes(server: RunningServer) -> None:
    """Nine of twelve are taken, so the next job cannot fork eight more."""
    async with (
        connect(server.endpoint("alice")) as alice,
        started(alice, "fork") as first,
        started(alice, "fork"),
    ):
        usage = (await alice.status(first.handle)).usage
        pids = [path / "pids.current" for path in directories(server, "alice")]
        (total,) = [int(path.read_text()) for path in pids if path.exists()]
    assert usage.processes == 9
    assert 9 < total <= 12


@pytest.mark.slow
async def test_what_became_of_a_clients_limits_is_told(server: RunningServer) -> None:
    """In every answer with a job, after a takeover too; ServerInfo says what the policy does."""
    async with connect(server.endpoint("alice")) as alice:
        job = await start(alice, "hold")
        info = await alice.server_info()
        assert info.client_limits.cpu_cores == pytest.approx(0.2)
        assert info.client_limits.memory_bytes == 120_000_000
        assert job.client_limits == info.client_limits
        held = {entry.limit: (entry.state, entry.actual) for entry in job.client_enforcement}
        assert held["cpu"] == ("enforced", "20000us/100000us")
        assert held["memory"] == ("enforced", str(120_000_000 // 4096 * 4096))
        assert held["processes"] == ("enforced", "12")
        assert held["disk_write"] == ("unavailable", "")
    await kill_server(server)
    async with connected_again(server, "alice") as alice:
        taken = (await alice.status(job.handle)).job
        assert taken.client_limits == job.client_limits
        assert list(taken.client_enforcement) == list(job.client_enforcement)
        assert taken.state == pb.JOB_STATE_RUNNING
        await alice.stop(job.handle, grace_s=0)
    await kill_server(server)
    async with connected_again(server, "alice") as alice:  # which knows it from its records
        finished = (await alice.status(job.handle)).job
        assert list(finished.client_enforcement) == list(job.client_enforcement)


async def test_other_totals_count_while_jobs_run(server: RunningServer) -> None:
    """Memory below what is in use refuses the reload, and nothing has changed; others are held,
    also by the checks of the jobs that run."""
    control = str(server.directory / "run" / "control.sock")
    file = server.directory / "policy.toml"
    before = file.read_text()

    async def reload(memory: str, processes: int) -> ControlAnswer:
        text = before.replace('"120MB"', f'"{memory}"').replace("= 12", f"= {processes}")
        file.write_text(text.replace('cpu = "20%"\n', ""))
        return await trio.to_thread.run_sync(ask, control, "reload")

    def held() -> set[str]:
        names = ("memory.limit_in_bytes", "memory.max", "pids.max")
        files = [path / name for path in directories(server, "alice") for name in names]
        files += [path / "cpu.cfs_quota_us" for path in directories(server, "alice")]
        return {path.read_text().strip() for path in files if path.exists()}

    async with connect(server.endpoint("alice")) as alice, started(alice, "hold") as job:
        was = held()
        answer = await reload("50MB", 13)
        (mistake,) = answer.texts("mistakes")
        place, _, text = mistake.partition(": ")
        assert re.fullmatch(rf"{server.directory}/policy\.toml:[0-9]+", place)
        assert text.startswith("clients.alice.limits: cannot be held now: its jobs use ")
        assert held() == was
        answer = await reload("200MB", 13)
        assert answer.ok
        said = "limits.memory 200MB instead of 120MB, limits.processes 13 instead of 12"
        assert any(text.endswith(said) for text in answer.texts("changes"))
        assert {str(200_000_000 // 4096 * 4096), "13"} <= held()
        assert not was & held()
        now = (await alice.status(job.handle)).job  # looks at the limits
        assert {str(200_000_000 // 4096 * 4096), "13"} <= held()
        told = {entry.limit: entry.detail for entry in now.client_enforcement}
        assert not any("changed from outside" in text for text in told.values())


async def test_what_the_kernel_keeps_of_files_refuses_no_total(server: RunningServer) -> None:
    """A job that has read or written much has it in the cache, which the kernel gives back."""
    control = str(server.directory / "run" / "control.sock")
    file = server.directory / "policy.toml"
    async with connect(server.endpoint("alice")) as alice, started(alice, "cache") as job:
        names = ("memory.usage_in_bytes", "memory.current")
        files = [path / name for path in directories(server, "alice") for name in names]
        (use,) = [path for path in files if path.exists()]
        assert int(use.read_text()) > 50_000_000
        file.write_text(file.read_text().replace('"120MB"', '"40MB"'))
        answer = await trio.to_thread.run_sync(ask, control, "reload")
        assert answer.ok, answer.texts("mistakes")
        assert int(use.read_text()) <= 40_000_000
        assert (await alice.status(job.handle)).job.state == pb.JOB_STATE_RUNNING


async def test_a_client_without_limits_has_a_group_and_nothing_to_tell(
    server: RunningServer,
) -> None:
    """Operators see what each client uses; the job itself is as it was."""
    async with connect(server.endpoint("bob")) as bob, started(bob, "hold") as job:
        assert not job.HasField("client_limits")
        assert not job.client_enforcement
        assert not (await bob.server_info()).HasField("client_limits")
        jobs = [path for path in server.groups() if len(path.name) == 32]
        assert {path.parent.name for path in jobs} == {"client-bob"}
    assert all(path.is_dir() for path in directories(server, "bob"))  # kept, for the next job


@pytest.mark.slow
async def test_a_total_that_cannot_be_held_is_refused_or_told() -> None:
    """cgroup v1 holds no bandwidth of several jobs together: required, nothing starts. v2 does."""
    with running_server(policy("required")) as server:
        async with connect(server.endpoint("carol")) as carol:
            if (await carol.server_info()).cgroups == "v2":
                job = await start(carol, "say")
                held = {
                    entry.limit: (entry.state, entry.actual) for entry in job.client_enforcement
                }
                assert held["disk_read"] == held["disk_write"] == ("enforced", "10000000")
                return
            with pytest.raises(RpcError) as caught:
                await carol.start("say")
            assert caught.value.code is StatusCode.FAILED_PRECONDITION
            assert "client 'carol' requires total limits" in caught.value.message
            assert "disk_read is unavailable" in caught.value.message
        assert [path for path in server.groups() if len(path.name) == 32] == []
    with running_server(policy("best_effort")) as server:
        async with connect(server.endpoint("carol")) as carol, started(carol, "say") as job:
            states = {entry.limit: entry.state for entry in job.client_enforcement}
            assert (states["disk_read"], states["memory"]) == ("unavailable", "enforced")


@pytest.mark.slow
async def test_jobs_of_an_earlier_life_are_ended_and_audited(server: RunningServer) -> None:
    """Supervisor and server are killed together: the next life says whose groups it has swept."""
    async with connect(server.endpoint("alice")) as alice:
        job = await start(alice, "spin")
    job_id = next(line["job"] for line in server.audit() if line["event"] == "job.running")
    job_fd = os.pidfd_open(job.os_pid)
    server.process.send_signal(signal.SIGSTOP)  # or else it would start the next server
    await kill_server(server)
    server.process.kill()
    await trio.to_thread.run_sync(server.process.wait)
    assert (server.directory / "work" / job_id).is_dir()  # nobody was left to remove it
    config = server.directory / "penstockd.toml"
    following = await trio.lowlevel.open_process(
        [sys.executable, "-m", "penstock.penstockd", "--config", str(config)],
        stdin=subprocess.DEVNULL,
    )
    try:
        await trio.lowlevel.wait_readable(job_fd)
        os.close(job_fd)
        async with connected_again(server, "alice") as alice:
            assert (await alice.status(job.handle)).job.end.reason == "lost"
        (line,) = [line for line in server.audit() if line["event"] == "groups.swept"]
        # Its process was the sentinel's to end, in the moment in which both were killed.
        assert (line["jobs"], line["processes"], line["groups_left"]) == ([job_id], 0, 0)
        following.send_signal(signal.SIGUSR2)  # another server: it is not told again
        while True:  # nothing tells of a line in a file
            if [line["event"] for line in server.audit()].count("server.started") == 3:
                break
            await trio.sleep(0.02)
    finally:
        following.terminate()
        with trio.CancelScope(shield=True), trio.move_on_after(patient(20)):
            await following.wait()
    assert [line["event"] for line in server.audit()].count("groups.swept") == 1
