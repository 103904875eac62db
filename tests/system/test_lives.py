"""What a process of an earlier life of penstockd still holds cannot reach the jobs of the next."""

import contextlib
import errno
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import killing
import pytest
import trio
from patience import patient
from pidfds import copy_descriptor
from running import RunningServer, policy_text, running_again, running_server, script

from penstock.client import connect
from penstock.proto import command_pb2 as pb

pytestmark = pytest.mark.root

COMMANDS = script("idle", "echo up; sleep 300")
CLIENTS = '[clients.alice]\ncommands = ["idle"]\n'
SILENCE_S = 4.0


@pytest.fixture
def server() -> Iterator[RunningServer]:
    policy = policy_text(COMMANDS, CLIENTS)
    with running_server(policy, server_silence_s=SILENCE_S) as server:
        yield server


async def started(server: RunningServer) -> pb.Job:
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("idle")
        async with client.stream(job.handle) as messages:
            async for message in messages:
                if b"up" in message.data:
                    break
        return job


def kill_descriptors(pid: int) -> list[int]:
    """What this process has open of cgroup.kill, as descriptors of ours."""
    fds = Path(f"/proc/{pid}/fd")
    found = []
    for name in os.listdir(fds):
        with contextlib.suppress(FileNotFoundError):  # it opens and closes others meanwhile
            if os.readlink(fds / name).endswith("/cgroup.kill"):
                found.append(copy_descriptor(pid, int(name)))
    return found


def kill_both(server: RunningServer, server_pid: int) -> None:
    """Supervisor and server in one moment; returns when both are gone."""
    fd = os.pidfd_open(server_pid)
    server.process.send_signal(signal.SIGSTOP)  # so that it cannot start the next server
    os.kill(server_pid, signal.SIGKILL)
    server.process.kill()
    server.process.wait()
    assert select.select([fd], [], [], patient(10))[0]
    os.close(fd)


async def test_old_kill_descriptors_reach_no_new_job(server: RunningServer) -> None:
    """C14: a server's, of the group above all jobs and of each job's, written to a life later."""
    await started(server)
    pid = server.server_pid()
    old = kill_descriptors(pid)
    if not old:
        pytest.skip("NOT RUN: this host's groups have no cgroup.kill")
    try:
        assert len(old) == 2
        await trio.to_thread.run_sync(kill_both, server, pid)
        with running_again(server):
            await killing.until_served(server, pid)
            job = await started(server)
            for fd in old:
                with pytest.raises(OSError, match="No such device") as caught:
                    os.write(fd, b"1")
                assert caught.value.errno == errno.ENODEV
            async with connect(server.endpoint("alice")) as client:
                assert (await client.status(job.handle)).job.state == pb.JOB_STATE_RUNNING
                os.kill(job.os_pid, 0)
    finally:
        for fd in old:
            os.close(fd)


@pytest.mark.slow
@pytest.mark.parametrize("goes_on", [False, True], ids=["stays", "goes on"])
async def test_a_server_that_stood_still_over_a_restart(
    server: RunningServer, goes_on: bool
) -> None:
    """C14, C27, C55: it holds the records, so no other can open them: it is killed after a while,
    or ends as it goes on, by itself. Jobs of the next life live on."""
    await started(server)
    before = server.server_pid()
    fd = os.pidfd_open(before)
    os.kill(before, signal.SIGSTOP)
    server.process.kill()
    await trio.to_thread.run_sync(server.process.wait)
    try:
        if goes_on:
            os.kill(before, signal.SIGCONT)
        with running_again(server):
            with trio.fail_after(patient(20)):
                await trio.lowlevel.wait_readable(fd)
            await killing.until_served(server, before)
            job = await started(server)
            async with connect(server.endpoint("alice")) as client:
                ends = [each.end.reason for each in await client.jobs(include_finished=True)]
                assert sorted(ends) == ["", "lost"]
                assert (await client.status(job.handle)).job.state == pb.JOB_STATE_RUNNING
            if not goes_on:
                await server.logged("a server of an earlier life")
    finally:
        os.close(fd)
    assert killing.processes_of(server) == []
