"""The processes of penstock themselves: drained, killed, held, and what is left then."""

import os
import signal
from collections.abc import Iterator

import pytest
import trio
from disks import Filler, small_disk
from killing import until_served
from pidfds import open_pidfd
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.jobs.job_rows import JobRecord
from penstock.jobs.store import Store
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, RpcError, StatusCode
from penstock.supervisor.cgroups import detect

COMMANDS = script("idle", "echo ready; sleep 300", grace="200ms") + script("say", "echo kept")
COMMANDS += script("trapping", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
CLIENTS = '[clients.alice]\ncommands = ["idle", "say", "trapping"]\nstarts_per_minute = 10000\n'


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


async def wait_gone(pid: int) -> None:
    """By pidfd; a process that is gone already is fine."""
    if (fd := open_pidfd(pid)) is None:
        return
    await trio.lowlevel.wait_readable(fd)
    os.close(fd)


async def test_sigterm_drains_stops_the_jobs_and_exits_0(server: RunningServer) -> None:
    """C11: a stream ends with the job's record or with UNAVAILABLE; nothing is left."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("idle")

        async def stream_through_the_end() -> None:
            async with client.stream(job.handle) as messages:
                async for message in messages:
                    if message.data:
                        server.process.send_signal(signal.SIGTERM)

        with pytest.raises(RpcError) as caught:
            await stream_through_the_end()
        assert caught.value.code is StatusCode.UNAVAILABLE
    await trio.to_thread.run_sync(server.process.wait)
    assert server.process.returncode == 0
    await wait_gone(job.os_pid)
    (line,) = [line for line in server.audit() if line["event"] == "job.finished"]
    assert line["reason"] == "stopped"


async def test_a_sigterm_to_the_server_alone_ends_its_jobs_and_not_penstockd(
    server: RunningServer,
) -> None:
    """C48: it is an order to end, with its jobs; penstockd starts the next one all the same."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("trapping")
        async with client.stream(job.handle) as messages:
            async for message in messages:
                if message.data == b"ready\n":
                    break
        before = server.server_pid()
        os.kill(before, signal.SIGTERM)
    await until_served(server, before)
    async with connect(server.endpoint("alice")) as client:
        end = (await client.status(job.handle)).job.end
        assert (end.reason, end.stopped_by, end.exit_code) == ("stopped", "server", 7)
        assert (await client.wait((await client.start("say")).handle)).end.exit_code == 0
    await wait_gone(job.os_pid)


async def test_a_killed_server_is_started_again_and_remembers(server: RunningServer) -> None:
    """C13: records and logs are there, and what ran runs on."""
    async with connect(server.endpoint("alice")) as client:
        done = await client.start("say")
        await client.wait(done.handle)
        job = await client.start("idle")
        os.kill(server.server_pid(), signal.SIGKILL)
        with pytest.raises(ConnectionLost):
            await client.wait(job.handle)
    client_again = None
    while client_again is None:  # until the supervisor has started the next one
        try:
            async with connect(server.endpoint("alice")) as client_again:
                running = (await client_again.status(job.handle)).job
                kept = (await client_again.status(done.handle)).job
                async with client_again.stream(done.handle) as messages:
                    data = b"".join([message.data async for message in messages])
                end = (await client_again.stop(job.handle)).job.end
        except ConnectionLost:
            await trio.sleep(0.05)
    assert (running.state, running.os_pid) == (pb.JOB_STATE_RUNNING, job.os_pid)
    assert (kept.end.reason, kept.end.exit_code, data) == ("exited", 0, b"kept\n")
    assert end.reason == "stopped"
    await wait_gone(job.os_pid)


@pytest.mark.root
async def test_a_killed_supervisor_takes_its_jobs_with_it(server: RunningServer) -> None:
    """C14: the server kills every group by the descriptors it holds, says lost, and ends.

    On pure v1 there are none: the next supervisor's sweep kills the groups.
    """
    async with connect(server.endpoint("alice")) as client:
        kind = (await client.server_info()).cgroups
        job = await client.start("idle")
        server_pid = server.server_pid()
        server.process.kill()
        await trio.to_thread.run_sync(server.process.wait)
        await wait_gone(server_pid)
        if kind == "v1":
            hierarchy = detect(server.cgroup_parent)
            assert hierarchy is not None
            assert hierarchy.sweep().processes >= 1
        await wait_gone(job.os_pid)
    (line,) = [line for line in server.audit() if line["event"] == "job.finished"]
    assert line["reason"] == "lost"
    server.remove_groups()  # the next supervisor would sweep them


async def start_until_refused(client: Client) -> None:
    """The file's last page takes a few lines more on a disk that is full."""
    for _ in range(1000):
        await client.start("say")


@pytest.mark.root
async def test_a_full_audit_disk_does_not_keep_a_shutdown_from_stopping_the_jobs() -> None:
    """Nothing can be written down any more: starts are refused, and SIGTERM ends all in order."""
    policy = policy_text(COMMANDS, CLIENTS)
    with small_disk() as disk, running_server(policy, audit_log=f"{disk}/audit") as server:
        async with connect(server.endpoint("alice")) as client:
            job = await client.start("trapping")
            async with client.stream(job.handle) as messages:
                async for message in messages:
                    if message.data:
                        break
            Filler(disk, 0)
            with pytest.raises(RpcError) as caught:
                await start_until_refused(client)
            assert caught.value.code is StatusCode.UNAVAILABLE
        server.process.send_signal(signal.SIGTERM)
        await trio.to_thread.run_sync(server.process.wait)
        assert server.process.returncode == 0
        await wait_gone(job.os_pid)
        store = Store(str(server.directory / "state" / "penstock.db"))
        try:
            records = [each for each in store.load() if isinstance(each, JobRecord)]
        finally:
            store.close()
        (end,) = [each.end for each in records if each.handle == job.handle]
        assert end is not None
        assert (end.reason, end.stopped_by, end.exit_code) == ("stopped", "server", 7)
