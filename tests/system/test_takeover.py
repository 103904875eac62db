"""The server is killed and jobs run on: C13, with the real supervisor, processes and kernel."""

import ctypes
import os
import signal
import socket
from collections.abc import Iterator

import killing
import pytest
import trio
import trio.lowlevel
from killing import kill_server, until_served
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.channel import ConnectionLost

PIDFD_GETFD = 438  # linux/asm-generic/unistd.h
COMMANDS = killing.COMMANDS + script("sleep", "sleep 300", grace="1s")
COMMANDS += script("mute", "trap '' TERM; echo ready; while :; do sleep 0.05; done", grace="1s")
CLIENTS = killing.CLIENTS.replace('"deaf"', '"deaf", "sleep", "mute"')


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "plan",
    [
        killing.Plan(jobs=8, lines=1_500, kills=4, readers=2, restarts=True),
        pytest.param(
            killing.Plan(jobs=16, lines=3_000, kills=8, readers=4, restarts=True),
            marks=pytest.mark.slow,
        ),
        pytest.param(killing.Plan(readers=10), marks=pytest.mark.slow),
    ],
    ids=["short", "sixteen-jobs-eight-kills", "fifty-jobs-thirty-kills"],
)
async def test_killed_again_and_again_nothing_is_lost(
    server: RunningServer, plan: killing.Plan
) -> None:
    """Jobs that write, kills at random moments: every line once, every exit code right."""
    report = await killing.run(server, plan, print)
    assert report.wrong == []
    assert (report.jobs, report.readers) == (plan.jobs, plan.readers)
    assert report.kills + report.restarts == plan.kills
    assert report.stopped > 0
    assert report.unheard > 0


async def test_a_stop_goes_on_after_a_kill(server: RunningServer) -> None:
    """A deaf job whose stop was under way is dead when the next stop returns, and says by whom."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("mute")
        async with client.stream(job.handle) as messages:
            async for message in messages:
                if message.data:
                    break
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                with pytest.raises((ConnectionLost, RpcError)):
                    await client.stop(job.handle, reason="enough")

            nursery.start_soon(stop)
            while (await client.status(job.handle)).job.state != pb.JOB_STATE_STOPPING:
                pass
            os.kill(server.server_pid(), signal.SIGKILL)
    await until_served(server, -1)
    async with connect(server.endpoint("alice")) as client:
        answer = await client.stop(job.handle)
        end = answer.job.end
        assert (end.reason, end.stop_reason, end.escalated) == ("stopped", "enough", True)


async def test_a_request_id_is_one_job_over_a_kill(server: RunningServer) -> None:
    """The same id gives the first answer, another body is refused."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("sleep", request_id="once")
    await kill_server(server)
    async with connect(server.endpoint("alice")) as client:
        again = await client.start("sleep", request_id="once")
        assert (again.handle, again.os_pid) == (job.handle, job.os_pid)
        with pytest.raises(RpcError) as caught:
            await client.start("mute", request_id="once")
        assert caught.value.code is StatusCode.ALREADY_EXISTS
        assert [each.handle for each in await client.jobs()] == [job.handle]
        await client.stop(job.handle)


def supervisors_end(server: RunningServer) -> socket.socket:
    """A copy of the server's own socket to the supervisor: what is sent there is the server's."""
    libc = ctypes.CDLL(None, use_errno=True)
    pid = server.server_pid()
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                copy = libc.syscall(PIDFD_GETFD, pidfd, int(name), 0)
                assert copy >= 0, os.strerror(ctypes.get_errno())
                found = socket.socket(fileno=copy)
                if found.type == socket.SOCK_SEQPACKET:
                    return found
                found.close()
    finally:
        os.close(pidfd)
    raise AssertionError("the server has no such socket")


@pytest.mark.root
async def test_a_server_that_talks_nonsense_loses_no_job(server: RunningServer) -> None:
    """It is killed before it can take the end of its connection for the supervisor's, and end all
    jobs; the next one goes on with them."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("mute")
    before = server.server_pid()
    with supervisors_end(server) as connection:
        connection.send(b"nonsense")
    await until_served(server, before)
    await server.logged(f"connection of process {before} ended")
    async with connect(server.endpoint("alice")) as client:
        again = (await client.status(job.handle)).job
        assert (again.state, again.os_pid) == (pb.JOB_STATE_RUNNING, job.os_pid)
        end = (await client.stop(job.handle, grace_s=0)).job.end
        assert end.reason == "stopped"


async def test_a_planned_restart_drains_and_keeps_the_jobs(server: RunningServer) -> None:
    """SIGUSR2 to penstockd: streams end as in a drain, the next server goes on with the job."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("mute")
        before = server.server_pid()
        async with client.stream(job.handle) as messages:
            async for message in messages:
                if message.data == b"ready\n":
                    server.process.send_signal(signal.SIGUSR2)
                    break
            with pytest.raises(RpcError) as caught:
                async for _ in messages:
                    pass
            assert caught.value.code is StatusCode.UNAVAILABLE
    await until_served(server, before)
    async with connect(server.endpoint("alice")) as client:
        assert (await client.status(job.handle)).job.state == pb.JOB_STATE_RUNNING
        end = (await client.stop(job.handle, grace_s=0)).job.end
        assert (end.reason, end.output_bytes) == ("stopped", 6)


@pytest.mark.parametrize("how", ["killed", "planned"])
async def test_a_next_server_that_cannot_start_leaves_the_jobs_alone(
    server: RunningServer, how: str
) -> None:
    """C13b, C49, C61: its key is gone, at a crash or a SIGUSR2: it says so, and is started again
    until it is there. Whoever connects meanwhile waits."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("sleep")
    before = server.server_pid()
    key = server.pki.server.key
    away = key.with_suffix(".away")
    key.rename(away)
    if how == "killed":
        os.kill(before, signal.SIGKILL)
    else:
        server.process.send_signal(signal.SIGUSR2)
    await server.logged(f"{key}: No such file")
    socket.create_connection(("127.0.0.1", server.port)).close()
    away.rename(key)
    await until_served(server, before)
    async with connect(server.endpoint("alice")) as client:
        again = (await client.status(job.handle)).job
        assert (again.state, again.os_pid) == (pb.JOB_STATE_RUNNING, job.os_pid)
        await client.stop(job.handle)


async def test_a_next_server_does_not_need_the_file_of_the_policy(server: RunningServer) -> None:
    """C61: nor that of the configuration: it has those that are in force in penstockd."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("sleep")
    before = server.server_pid()
    (server.directory / "policy.toml").unlink()
    (server.directory / "penstockd.toml").write_text("nonsense\n")
    os.kill(before, signal.SIGKILL)
    await until_served(server, before)
    async with connect(server.endpoint("alice")) as client:
        assert (await client.status(job.handle)).job.state == pb.JOB_STATE_RUNNING
        for handle in (job.handle, (await client.start("sleep")).handle):
            await client.stop(handle)
