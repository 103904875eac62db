"""Standard input of real jobs: back-pressure, an exact count over kills, its end; row 45."""

import contextlib
import hashlib
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from patience import patient, slowness
from restarts import connected_again, kill_server
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.client.send_input import InputSender
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

CLOSES = "read line; echo $line; exec 0</dev/null; echo closed; exec sleep 300"
# Some 200 kB a second.
SLOW = (
    "exec python3 -ISc 'import os, time\n"
    "while data := os.read(0, 3000):\n"
    "    os.write(1, data)\n"
    "    time.sleep(0.01)'"
)
COMMANDS = (
    script("echo", "exec cat")
    + "stdin = true\n"
    + script("hash", "exec sha256sum")
    + "stdin = true\n"
    + script("deaf", "echo ready; exec sleep 300", grace="0s")
    + "stdin = true\n"
    + script("one", CLOSES, grace="0s")
    + "stdin = true\n"
    + script("slow", SLOW)
    + "stdin = true\n"
    + script("plain", "cat; echo end")
)
CLIENTS = """
[clients.alice]
commands = ["echo", "hash", "deaf", "one", "slow", "plain"]
max_running = 50
[clients.bob]
commands = ["deaf"]
max_streams = 2
"""
BIG = random.Random(3).randbytes(5_000_000)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def source(data: bytes, size: int = 50_000) -> "Pieces":
    return Pieces(data, size)


class Pieces:
    """Gives its bytes piece by piece, then b""."""

    def __init__(self, data: bytes, size: int) -> None:
        self._offsets = itertools.count(0, size)
        self._data, self._size = data, size

    async def __call__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        offset = next(self._offsets)
        return self._data[offset : offset + self._size]


async def output(client: Client, handle: str) -> bytes:
    data = b""
    async with client.stream(handle) as messages:
        async for message in messages:
            data += message.data
    return data


async def test_what_is_sent_is_read_and_ends(server: RunningServer) -> None:
    """Every byte in order, binary and empty pieces too; the job sees the end and exits."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("echo", stdin=True)
        assert job.HasField("input")
        feeder = InputSender(server.endpoint("alice"), job.handle)
        await feeder.feed(source(BIG[:300_000], 7_777))
        assert feeder.accepted == 300_000
        assert await output(client, job.handle) == BIG[:300_000]
        given = (await client.wait(job.handle)).input
        assert (given.accepted, given.closed) == (300_000, True)


async def test_without_it_a_job_reads_nothing(server: RunningServer) -> None:
    """As before: /dev/null. It has no input to send, and a command has none unless granted."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("echo")
        assert not job.HasField("input")
        assert (await client.wait(job.handle)).end.exit_code == 0
        with pytest.raises(RpcError) as caught:
            await InputSender(server.endpoint("alice"), job.handle).feed(source(b"x"))
        assert caught.value.code is StatusCode.FAILED_PRECONDITION
        assert "started without input" in caught.value.message
        with pytest.raises(RpcError, match="input is not granted") as caught:
            await client.start("plain", stdin=True)
        assert caught.value.code is StatusCode.PERMISSION_DENIED
        async with connect(server.endpoint("bob")) as bob:
            job = await client.start("deaf", stdin=True)
            with pytest.raises(RpcError) as caught:
                await InputSender(server.endpoint("bob"), job.handle).feed(source(b"x"))
            assert caught.value.code is StatusCode.NOT_FOUND
            assert await bob.jobs() == []
        await client.stop(job.handle)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("command", ["hash", pytest.param("slow", marks=pytest.mark.slow)])
async def test_kills_of_the_server_lose_and_double_nothing(
    server: RunningServer, command: str
) -> None:
    """Killed at random moments while it feeds: the job has read exactly what was sent."""
    moments = random.Random(11)
    data = BIG if command == "hash" else BIG[:300_000]
    async with connect(server.endpoint("alice")) as client:
        job = await client.start(command, stdin=True)
    fed = trio.Event()

    async def feed() -> None:
        # Small pieces, or all is done before the first kill.
        await InputSender(server.endpoint("alice"), job.handle).feed(source(data, 1_500))
        fed.set()

    kills = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        while not fed.is_set() and kills < 5:
            await trio.sleep(moments.random() * 0.3)
            with contextlib.suppress(AssertionError):  # it is between two servers
                await kill_server(server)
                kills += 1
            async with connected_again(server, "alice"):
                pass
    assert kills > 1
    async with connected_again(server, "alice") as client:
        printed = await output(client, job.handle)
        end = (await client.wait(job.handle)).end
        assert (end.reason, end.exit_code) == ("exited", 0)
        if command == "hash":
            assert printed.decode() == f"{hashlib.sha256(data).hexdigest()}  -\n"
        else:
            assert printed == data


async def test_a_job_that_does_not_read_costs_others_nothing(server: RunningServer) -> None:
    """Its sender waits; the server holds a few pieces of it; another client's calls are quick."""
    async with connect(server.endpoint("bob")) as client:
        before = memory_kb(server)
        job = await client.start("deaf", stdin=True)

        async def feed() -> None:
            with contextlib.suppress(RpcError):
                await InputSender(server.endpoint("bob"), job.handle).feed(source(BIG, 200_000))

        async def flood() -> None:
            async with client.send_input() as call:
                await call.send(pb.SendInputRequest(pid=job.handle))
                while await call.send(pb.SendInputRequest(offset=0, data=BIG[:64_000])):
                    pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            with trio.fail_after(patient(20)):
                while True:
                    given = (await client.status(job.handle)).job.input
                    if given.accepted >= 100_000:
                        break
                    await trio.sleep(0.01)  # noqa: ASYNC110  # nobody tells
            nursery.start_soon(flood)
            await trio.sleep(0.3)  # for it to fill what can be filled
            async with connect(server.endpoint("alice")) as other:
                start = time.monotonic()
                for _ in range(20):
                    await other.server_info()
                assert time.monotonic() - start < 2 * slowness()
            assert (await client.status(job.handle)).job.input.accepted <= 2 * 65536
            assert memory_kb(server) - before < 8_000
            await client.stop(job.handle)
            nursery.cancel_scope.cancel()


def memory_kb(server: RunningServer) -> int:
    for line in Path(f"/proc/{server.server_pid()}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


async def test_a_job_that_closes_its_input_or_ends_is_said(server: RunningServer) -> None:
    """STDIN_CLOSED, also to a sender that waits; what it had read is not lost."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("one", stdin=True)
        with pytest.raises(RpcError, match="closed its input") as caught:
            await InputSender(server.endpoint("alice"), job.handle).feed(source(b"hello\n" + BIG))
        assert caught.value.code is StatusCode.FAILED_PRECONDITION
        deaf = await client.start("deaf", stdin=True)
        async with client.send_input() as call:
            await call.send(pb.SendInputRequest(pid=deaf.handle))
            assert (await anext(call)).accepted == 0
            await client.stop(deaf.handle)
            with pytest.raises(RpcError, match="has ended") as caught:
                await anext(call)
            assert caught.value.code is StatusCode.FAILED_PRECONDITION
        await client.stop(job.handle)
        assert await output(client, job.handle) == b"hello\nclosed\n"


async def test_requests_that_make_no_sense_end_their_call_alone(server: RunningServer) -> None:
    """A gap, too much at once, another job, no job: and the input is as it was."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("echo", stdin=True)
        for requests, code in (
            ([pb.SendInputRequest(pid=job.handle, offset=1, data=b"x")], StatusCode.OUT_OF_RANGE),
            (
                [pb.SendInputRequest(pid=job.handle, data=b"x" * (64 * 1024 + 1))],
                StatusCode.INVALID_ARGUMENT,
            ),
            (
                [pb.SendInputRequest(pid=job.handle, data=b"x" * (80 * 1024 + 1))],
                StatusCode.RESOURCE_EXHAUSTED,
            ),
            (
                [pb.SendInputRequest(pid=job.handle), pb.SendInputRequest(pid="1")],
                StatusCode.INVALID_ARGUMENT,
            ),
            (
                [pb.SendInputRequest(pid=job.handle, offset=2**64 - 1, data=b"x")],
                StatusCode.INVALID_ARGUMENT,
            ),
            ([pb.SendInputRequest(data=b"x")], StatusCode.INVALID_ARGUMENT),
            (
                [pb.SendInputRequest(pid=job.handle, sender="x" * 65)],
                StatusCode.INVALID_ARGUMENT,
            ),
            ([pb.SendInputRequest(pid=job.handle, goes_on=True)], StatusCode.INVALID_ARGUMENT),
            ([], StatusCode.INVALID_ARGUMENT),
        ):
            async with client.send_input() as call:
                for request in requests:
                    await call.send(request)
                call.end()
                with pytest.raises(RpcError) as caught:
                    async for _ in call:
                        pass
                assert caught.value.code is code, requests
        await InputSender(server.endpoint("alice"), job.handle).feed(source(b"good"))
        assert await output(client, job.handle) == b"good"


async def test_the_newest_sender_has_it(server: RunningServer) -> None:
    """ABORTED for the one before, and what it sent stands; a second client of the same owner."""
    async with connect(server.endpoint("alice")) as client, client.send_input() as first:
        job = await client.start("echo", stdin=True)
        await first.send(pb.SendInputRequest(pid=job.handle, data=b"one "))
        assert (await anext(first)).accepted == 4
        await InputSender(server.endpoint("alice"), job.handle).feed(source(b"two"))
        with pytest.raises(RpcError) as caught:
            await anext(first)
        assert caught.value.code is StatusCode.ABORTED
        assert await output(client, job.handle) == b"one two"


async def test_who_was_cut_off_is_told_that_others_have_sent(server: RunningServer) -> None:
    """Also by the next server: their bytes would pass for its own, and its own would be lost."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("echo", stdin=True)
    mine = pb.SendInputRequest(pid=job.handle, sender="mine", goes_on=True)
    async with connect(server.endpoint("alice")) as client, client.send_input() as call:
        await call.send(pb.SendInputRequest(pid=job.handle, sender="mine", data=b"one "))
        assert (await anext(call)).accepted == 4
    async with connect(server.endpoint("alice")) as client, client.send_input() as call:
        await call.send(mine)
        assert (await anext(call)).accepted == 4
    await InputSender(server.endpoint("alice"), job.handle).feed(source(b"two"), end=False)
    await kill_server(server)
    async with connected_again(server, "alice") as client:
        async with client.send_input() as call:
            await call.send(mine)
            with pytest.raises(RpcError, match="has sent input") as caught:
                await anext(call)
        assert caught.value.code is StatusCode.ABORTED
        await InputSender(server.endpoint("alice"), job.handle).feed(source(b""))
        assert await output(client, job.handle) == b"one two"


def cli(server: RunningServer, data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "penstock.cli", *arguments],
        env=server.environment("alice"),
        input=data,
        capture_output=True,
        timeout=patient(30),
        check=False,
    )


def test_run_passes_its_input_on_when_it_is_asked_to(server: RunningServer) -> None:
    """-i, --stdin; otherwise the job has none, and ours is not touched."""
    data = os.urandom(200_000)
    done = cli(server, data, "run", "-i", "echo")
    assert (done.returncode, done.stdout == data, done.stderr) == (0, True, b"")
    done = cli(server, b"one line\nmore", "run", "--stdin", "hash")
    assert done.stdout.split()[0].decode() == hashlib.sha256(b"one line\nmore").hexdigest()
    assert cli(server, data, "run", "echo").stdout == b""
    refused = cli(server, data, "run", "-i", "plain")
    assert (refused.returncode, b"input is not granted" in refused.stderr) == (126, True)


def test_send_is_the_rest_of_a_start(server: RunningServer) -> None:
    """In several goes; the last one ends it."""
    started = server.cli("alice", "start", "--stdin", "echo")
    pid = started.stdout.rsplit("PID: ", 1)[1].strip()
    done = cli(server, b"one ", "send", "--keep-open", pid)
    assert done.stdout.decode() == f"Job {pid} was sent 4 bytes in all.\n"
    done = cli(server, b"two", "send", pid)
    assert done.stdout.decode() == f"Job {pid} was sent 7 bytes in all, and its end.\n"
    assert server.cli("alice", "wait", pid).returncode == 0
    assert cli(server, b"", "stream", "--raw", pid).stdout == b"one two"
    assert cli(server, b"more", "send", pid).returncode == 6
