"""The server is killed and jobs run on: C13, with the real supervisor, processes and kernel."""

import os
import random
import signal
import socket
from collections.abc import Iterator

import pytest
import trio
import trio.lowlevel
from patience import patient
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.client import ConnectionLost
from penstock.rpc.errors import RpcError, StatusCode

# Numbered lines of 30 bytes, with a pause now and then; and an exit code of its own.
COMMANDS = script(
    "lines",
    'i=0; while [ $i -lt $1 ]; do i=$((i+1)); printf "%024d %s\\n" $i "abcd"; '
    '[ $((i % 80)) = 0 ] && sleep 0.2; done; exit "$2"',
) + (
    'arguments = [{ literal = "x" }, { int = { min = 1, max = 999999 } }, '
    "{ int = { min = 0, max = 200 } }]\n"
)
COMMANDS += script("sleep", "sleep 300", grace="1s")
COMMANDS += script("deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done", grace="1s")
CLIENTS = '[clients.alice]\ncommands = ["lines", "sleep", "deaf"]\nmax_running = 100\n'
CLIENTS += "starts_per_minute = 10000\n"


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


async def kill_server(server: RunningServer) -> None:
    """SIGKILL; returns when the next one takes calls."""
    before = server.server_pid()
    os.kill(before, signal.SIGKILL)
    await until_served(server, before)


async def until_served(server: RunningServer, before: int) -> None:
    with trio.fail_after(patient(20)):
        while True:
            try:
                async with connect(server.endpoint("alice")) as client:
                    await client.server_info()
                    if server.server_pid() != before:
                        return
            except (OSError, ConnectionLost, RpcError, AssertionError):
                pass
            await trio.sleep(0.02)  # there is nothing to wait for before it listens


async def read_all(client: Client, handle: str) -> tuple[bytes, pb.EndRecord]:
    data = b""
    async with client.stream(handle) as messages:
        async for message in messages:
            data += message.data
            assert not message.HasField("gap")
            if message.HasField("finished"):
                return data, message.finished
    raise AssertionError("no end record")


def expected_lines(count: int) -> bytes:
    return b"".join(b"%024d abcd\n" % number for number in range(1, count + 1))


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("jobs", "lines", "kills"),
    [(10, 3_000, 10), pytest.param(50, 15_000, 30, marks=pytest.mark.slow)],
)
async def test_killed_again_and_again_nothing_is_lost(
    server: RunningServer, jobs: int, lines: int, kills: int
) -> None:
    """Jobs that write, kills at random moments: every line once, every exit code right."""
    moments = random.Random(7)
    handles: dict[str, int] = {}
    async with connect(server.endpoint("alice")) as client:
        for code in range(jobs):
            job = await client.start("lines", ["x", str(lines), str(code)])
            handles[job.handle] = code
    for _ in range(kills):
        await trio.sleep(moments.random() * 0.1)
        await kill_server(server)
    async with connect(server.endpoint("alice")) as client:
        for handle, code in handles.items():
            data, end = await read_all(client, handle)
            assert data == expected_lines(lines)
            assert (end.reason, end.exit_code, end.output_bytes) == ("exited", code, len(data))
            assert not end.gaps


async def test_a_stop_goes_on_after_a_kill(server: RunningServer) -> None:
    """A deaf job whose stop was under way is dead when the next stop returns, and says by whom."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("deaf")
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
            await client.start("deaf", request_id="once")
        assert caught.value.code is StatusCode.ALREADY_EXISTS
        assert [each.handle for each in await client.jobs()] == [job.handle]
        await client.stop(job.handle)


async def test_a_planned_restart_drains_and_keeps_the_jobs(server: RunningServer) -> None:
    """SIGUSR2 to penstockd: streams end as in a drain, the next server goes on with the job."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("deaf")
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


async def test_a_next_server_that_cannot_start_leaves_the_jobs_alone(server: RunningServer) -> None:
    """Its port is taken: it has the jobs already, and gives them back until one can listen."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("sleep")
    before = server.server_pid()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(before, signal.SIGKILL)
        while True:
            try:
                taken.bind(("127.0.0.1", server.port))
                taken.listen()
                break
            except OSError:
                await trio.lowlevel.checkpoint()  # until the killed one's socket is gone
        while True:  # the log tells nobody that it has grown
            if any("cannot listen" in line for line in server.log_lines):
                break
            await trio.sleep(0.02)
    await until_served(server, before)
    async with connect(server.endpoint("alice")) as client:
        again = (await client.status(job.handle)).job
        assert (again.state, again.os_pid) == (pb.JOB_STATE_RUNNING, job.os_pid)
        await client.stop(job.handle)
