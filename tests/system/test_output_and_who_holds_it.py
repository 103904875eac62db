"""Readers that stall, readers that never read, and descendants that keep a pipe open."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import h2.settings
import pytest
import trio
from gates import ARGUMENTS, RELAY, started
from patience import patient
from raw import RawClient, message, raw_client, with_headers
from running import IS_ROOT, RunningServer, policy_text, running_server, script
from told import Told, at, follow, kept_sha256, numbered, numbered_bytes, streaming

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

FAST_BYTES = 100_000_000
NUMBERED_BYTES = 40_000_000
STALL_S = 1.0
# A job that waited for a reader would not end at all; other work on the machine is no reader.
SLOWER = 5
# A reader costs the server a few buffers, whatever a job prints meanwhile.
FLAT_KIB = 24 * 1024
PIPE_BYTES = 2**20
COMMANDS = (
    script("fast", f"head -c {FAST_BYTES} /dev/zero")
    + 'output = "unlimited"\n'
    + script("lines", numbered(NUMBERED_BYTES))
    + 'output = "unlimited"\n'
    + script("relay", RELAY)
    + ARGUMENTS
    + script("descendant", "setsid sleep 300 & echo done")
    + script("talker", "(while :; do echo more; done) & echo done")
)
COMMAND_NAMES = ", ".join(
    [f'"{name}"' for name in ("fast", "lines", "relay", "descendant", "talker")]
)
CLIENTS = "".join(
    [f"[clients.{name}]\ncommands = [{COMMAND_NAMES}]\n" for name in ("alice", "bob")]
)


@contextmanager
def serving(**transport: float) -> Iterator[RunningServer]:
    """A new one, as its peak of memory is looked at."""
    with running_server(policy_text(COMMANDS, CLIENTS), transport=transport) as server:
        yield server


def peak_kib(server: RunningServer) -> int:
    text = Path(f"/proc/{server.server_pid()}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0])


async def run_s(client: Client, command: str) -> tuple[str, float]:
    """A job's handle, once it has ended, and how long it took."""
    job = await client.wait((await client.start(command)).handle)
    assert (job.end.reason, job.end.exit_code) == ("exited", 0)
    return job.handle, (job.ended_ns - job.started_ns) / 1e9


@asynccontextmanager
async def never_read(server: RunningServer, handle: str) -> AsyncIterator[RawClient]:
    """A connection on which a stream was asked for, with every window open, and nothing is read."""
    context = server.pki.client_context("alice")
    async with raw_client(server.port, context, start=False) as raw:
        raw.h2.initiate_connection()
        raw.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
        raw.h2.increment_flow_control_window(2**31 - 1 - 65_535)
        path = "/teleport.CommandService/StreamOutput"
        request = pb.StreamOutputRequest(pid=handle, raw=True).SerializeToString()
        await raw.request(with_headers((":path", path)), message(request))
        yield raw


async def test_a_reader_that_stalls_costs_neither_memory_nor_speed() -> None:
    """100 MB at full speed beside a reader that takes nothing: flat memory; then it gets it all."""
    with serving() as server:
        async with (
            connect(server.endpoint("alice")) as client,
            connect(server.endpoint("alice")) as stalled,
        ):
            handle, free_s = await run_s(client, "fast")
            await follow(client, handle, Told(keep=False), until=at(20_000_000))
            before_kib = peak_kib(server)
            job = await client.start("fast")
            told = Told(keep=False)
            async with streaming(stalled, job.handle) as messages:
                told.take(await anext(messages))
                ended = (await client.wait(job.handle)).end
                grown_kib = peak_kib(server) - before_kib
                await told.take_all(messages)
    took_s = (ended.ended_ns - job.started_ns) / 1e9
    print(
        f"{FAST_BYTES / took_s / 1e6:.0f} MB/s with a stalled reader, "
        f"{FAST_BYTES / free_s / 1e6:.0f} without; memory + {grown_kib} KiB"
    )
    assert told.check_complete() == ended
    assert told.digest.hexdigest() == ended.output_sha256
    assert ended.output_bytes == FAST_BYTES
    assert grown_kib < FLAT_KIB
    assert took_s < SLOWER * free_s + 1


async def test_a_stream_that_is_never_read_is_dropped_at_the_stated_limit() -> None:
    """RESOURCE_EXHAUSTED after `stream_stall_s`; others are not slowed, and it may come back."""
    with serving(stream_stall_s=STALL_S) as server:
        async with connect(server.endpoint("alice")) as client:
            handle, free_s = await run_s(client, "lines")
            told = Told(numbered_bytes)
            began = trio.current_time()
            async with streaming(client, handle) as messages:
                told.take(await anext(messages))
                # Its neighbour on the same connection reads all of another job meanwhile.
                other, beside_s = await run_s(client, "lines")
                end = (await follow(client, other, Told(keep=False))).check_complete()
                assert end.output_sha256 == kept_sha256(end, numbered_bytes)
                while True:
                    if messages._stream.ended:
                        break
                    await trio.sleep(0.02)  # a stream that nobody reads tells nobody of its end
                dropped_s = trio.current_time() - began
                with pytest.raises(RpcError) as caught:
                    await told.take_all(messages)
            assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
            assert told.received < NUMBERED_BYTES
            await follow(client, handle, told)
            told.check_complete()
    print(f"dropped after {dropped_s:.1f} s; a job took {beside_s:.2f} s, alone {free_s:.2f} s")
    assert dropped_s >= STALL_S
    assert beside_s < SLOWER * free_s + 1


@pytest.mark.slow
async def test_a_connection_that_is_never_read_is_dropped_at_the_stated_limit() -> None:
    """After `write_stall_s`, with bounded memory; another client notices nothing."""
    with serving(write_stall_s=STALL_S) as server:
        async with (
            connect(server.endpoint("alice")) as client,
            connect(server.endpoint("bob")) as other,
        ):
            handle, free_s = await run_s(client, "lines")
            await follow(client, handle, Told(keep=False))
            before_kib = peak_kib(server)
            async with never_read(server, handle) as raw:
                theirs, beside_s = await run_s(other, "lines")
                (await follow(other, theirs, Told(numbered_bytes))).check_complete()
                await server.logged("write_stall")
                grown_kib = peak_kib(server) - before_kib
                await raw.wait_closed()
            (await follow(client, handle, Told(keep=False))).check_complete()
    print(f"memory + {grown_kib} KiB; a job took {beside_s:.2f} s, alone {free_s:.2f} s")
    assert grown_kib < FLAT_KIB
    assert beside_s < SLOWER * free_s + 1


@pytest.mark.parametrize("command", ["descendant", "talker"])
async def test_a_job_ends_with_its_main_process(command: str) -> None:
    """A descendant that holds stdout, silent or printing, ends with it, and so do readers."""
    with serving() as server:
        async with connect(server.endpoint("alice")) as client:
            job = await client.start(command)
            with trio.fail_after(patient(10)):
                told = await follow(client, job.handle)
            end = told.check_complete()
    assert (end.reason, end.exit_code) == ("exited", 0)
    assert b"done\n" in told.data()
    assert told.data().replace(b"done\n", b"").replace(b"more\n", b"") in (b"", b"m", b"mo", b"mor")
    assert told.digest.hexdigest() == end.output_sha256


async def write_again_and_again(fd: int) -> None:
    """Until it raises."""
    while True:
        os.write(fd, b"after\n")
        await trio.sleep(0.02)


@pytest.mark.root
async def test_a_pipe_that_somebody_else_holds_does_not_keep_a_job() -> None:
    """One that escaped: the job ends, with at most what the pipe had."""
    assert IS_ROOT
    with serving() as server:
        async with connect(server.endpoint("alice")) as client:
            job, gate = await started(server, client, "relay", "held")
            with gate:
                await gate.write(b"before\n")
                held_fd = os.open(f"/proc/{job.os_pid}/fd/1", os.O_WRONLY)
                try:
                    await follow(client, job.handle, until=at(len(b"before\n")))
                    gate.close()
                    with trio.fail_after(patient(10)):
                        end = (await client.wait(job.handle)).end
                        told = await follow(client, job.handle)
                    # The supervisor gives its end back by RELEASE, of which nobody is told.
                    with pytest.raises(BrokenPipeError), trio.fail_after(patient(10)):
                        await write_again_and_again(held_fd)
                finally:
                    os.close(held_fd)
    assert told.check_complete() == end
    assert (end.reason, told.data()) == ("exited", b"before\n")
