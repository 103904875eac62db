"""Output through the whole server: complete, for every reader, whatever the others do."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

GIB = 2**30
COMMANDS = (
    script("big", 'head -c "$1" /dev/urandom')
    + 'output = "2GiB"\n'
    + f'arguments = [{{ literal = "x" }}, {{ int = {{ min = 1, max = {GIB} }} }}]\n'
    + script("both", "printf 'a\\377b\\0c'; printf 'error' >&2")
    + script("gate", "cat @dir/gate")
)
CLIENTS = '[clients.alice]\ncommands = ["big", "both", "gate"]\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        os.mkfifo(server.directory / "gate")
        (server.directory / "gate").chmod(0o666)
        yield server


class Gate:
    """A job that prints what the test writes, when the test writes it."""

    def __init__(self, server: RunningServer) -> None:
        self._path = server.directory / "gate"
        self._fd = -1

    def open(self) -> None:
        """Waits until the job has opened its end."""
        self._fd = os.open(self._path, os.O_WRONLY)

    def write(self, data: bytes) -> None:
        os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


async def started_gate(server: RunningServer, client: Client) -> tuple[pb.Job, Gate]:
    job = await client.start("gate")
    gate = Gate(server)
    await trio.to_thread.run_sync(gate.open)
    return job, gate


def peak_memory_kib(pid: int) -> int:
    """The highest resident size that a process ever had."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])


async def read_all(client: Client, handle: str, began: trio.Event | None = None) -> pb.EndRecord:
    """Reads to the end; the SHA-256 of what came must be the end record's."""
    digest, expected = hashlib.sha256(), 0
    async with client.stream(handle) as messages:
        async for message in messages:
            if message.data:
                assert message.offset == expected
                expected += len(message.data)
                digest.update(message.data)
                if began is not None and expected > 64 * 2**20:
                    began.set()
            if message.HasField("gap"):
                assert message.gap.from_offset == expected
                expected = message.gap.to_offset
            if message.HasField("finished"):
                end = message.finished
    assert expected == end.output_bytes
    assert digest.hexdigest() == end.output_sha256
    return end


@pytest.mark.timeout(240)
@pytest.mark.parametrize("size", [GIB // 8, pytest.param(GIB, marks=pytest.mark.slow)])
async def test_much_output_reaches_four_readers_in_little_memory(
    server: RunningServer, size: int
) -> None:
    """Two from the start, two joining later: identical SHA-256; the server under 100 MiB."""
    ends: list[pb.EndRecord] = []
    began = trio.Event()

    async def reader(began: trio.Event | None) -> None:
        async with connect(server.endpoint("alice")) as client:
            ends.append(await read_all(client, handle, began))

    async with connect(server.endpoint("alice")) as client:
        handle = (await client.start("big", ["x", str(size)])).handle
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader, began)
        nursery.start_soon(reader, None)
        await began.wait()
        nursery.start_soon(reader, None)
        nursery.start_soon(reader, None)
    assert len(ends) == 4
    assert {end.output_bytes for end in ends} == {size}
    assert len({end.output_sha256 for end in ends}) == 1
    peak_kib = peak_memory_kib(server.server_pid())
    print(f"peak memory of the server: {peak_kib / 1024:.1f} MiB")
    assert peak_kib < 100 * 1024


async def test_binary_is_exact_and_streams_are_told_apart(server: RunningServer) -> None:
    """NUL and bytes that are no UTF-8 arrive as they were; stderr carries its number."""
    found: dict[int, bytes] = {1: b"", 2: b""}
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("both")
        async with client.stream(job.handle) as messages:
            async for message in messages:
                found[message.stream or 1] += message.data
        async with client.stream(job.handle, raw=False) as messages:
            text = "".join([message.output async for message in messages])
    assert found == {1: b"a\xffb\0c", 2: b"error"}
    assert sorted(text) == sorted("a\ufffdb\0cerror")


async def test_output_arrives_live(server: RunningServer) -> None:
    """A line is there before the job writes the next one."""
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started_gate(server, client)
        async with client.stream(job.handle) as messages:
            assert (await anext(messages)).job.handle == job.handle
            for number in range(5):
                gate.write(b"line %d\n" % number)
                assert (await anext(messages)).data == b"line %d\n" % number
            gate.close()
            assert (await anext(messages)).finished.exit_code == 0


async def test_a_killed_client_costs_nobody_anything(server: RunningServer) -> None:
    """SIGKILL of a streaming client: its connection ends, the job and other readers go on."""
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started_gate(server, client)
        reader = subprocess.Popen(  # noqa: ASYNC220  # a fork of a moment, and only in a test
            [sys.executable, "-m", "penstock.cli", "stream", "--raw", job.handle],
            env=server.environment("alice"),
            stdout=subprocess.PIPE,
        )
        assert reader.stdout is not None
        with reader.stdout:
            gate.write(b"first\n")
            line = await trio.to_thread.run_sync(reader.stdout.readline)
            assert line == b"first\n"
            reader.send_signal(signal.SIGKILL)
            await trio.to_thread.run_sync(reader.wait)
        gate.write(b"second\n")
        gate.close()
        end = await read_all(client, job.handle)
    assert end.output_bytes == len(b"first\nsecond\n")
    assert end.exit_code == 0


async def test_a_deadline_ends_the_call_and_not_the_job(server: RunningServer) -> None:
    """DEADLINE_EXCEEDED to the caller; the job runs on and can be read to its end."""
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started_gate(server, client)
        channel = client._channel
        with pytest.raises(RpcError) as caught:
            await channel.unary(
                "teleport.CommandService",
                "Wait",
                pb.WaitRequest(pid=job.handle),
                pb.WaitResponse,
                timeout_s=0.05,
            )
        assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
        assert (await client.status(job.handle)).job.state == pb.JOB_STATE_RUNNING
        gate.write(b"alive\n")
        gate.close()
        assert (await read_all(client, job.handle)).output_bytes == 6


async def test_offsets(server: RunningServer) -> None:
    """A reader may begin anywhere up to the end; past it is OUT_OF_RANGE."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("both")
        end = (await client.wait(job.handle)).end
        for offset in range(end.output_bytes + 1):
            async with client.stream(job.handle, offset=offset) as messages:
                data = b"".join([message.data async for message in messages])
            assert len(data) == end.output_bytes - offset
        with pytest.raises(RpcError) as caught:
            async with client.stream(job.handle, offset=end.output_bytes + 1) as messages:
                await anext(messages)
        assert caught.value.code is StatusCode.OUT_OF_RANGE
