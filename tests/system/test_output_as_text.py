"""Text of real jobs, begun and cut anywhere: no character is lost, torn or told twice."""

import os
from collections.abc import Iterator

import pytest
from gates import ARGUMENTS, RELAY, started
from running import RunningServer, policy_text, running_server, script
from told import Told, at, follow

from penstock.client import connect
from penstock.proto import command_pb2 as pb

BINARY_BYTES = 3_000_000
LINE_BYTES = 10_000_000
ONES = 20_000
COMMANDS = (
    script("relay", RELAY)
    + ARGUMENTS
    + script("binary", "cat @dir/binary")
    + script("ones", "dd if=@dir/ones bs=1 status=none")
    + script("line", f"head -c {LINE_BYTES} /dev/zero | tr '\\0' x")
)
CLIENTS = '[clients.alice]\ncommands = ["relay", "binary", "ones", "line"]\n'
# Characters of one to four bytes, what is no UTF-8, and a character that is broken off.
TEXT = "aé€😀".encode() + b"\xff\x80z\xe2\x82" + "ß\U0010ffff".encode() + b"\xf0\x9f"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        for name, size in (("binary", BINARY_BYTES), ("ones", ONES)):
            (server.directory / name).write_bytes(os.urandom(size))
            (server.directory / name).chmod(0o644)
        yield server


def begin_of_character(data: bytes, offset: int) -> int:
    """Where the character begins that goes on at an offset; the offset if none does."""
    for begin in range(max(0, offset - 3), offset):
        for length, bits, first in ((2, 3, 0b110), (3, 4, 0b1110), (4, 5, 0b11110)):
            goes_on = all([byte >> 6 == 0b10 for byte in data[begin + 1 : offset]])
            if data[begin] >> (8 - bits) == first and begin + length > offset and goes_on:
                return begin
    return offset


async def test_text_may_begin_in_the_middle_of_a_character(server: RunningServer) -> None:
    """From every offset: the text from there on, with the character whole that it lies in."""
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "relay", "middle")
        with gate:
            await gate.write(TEXT)
        await client.wait(job.handle)
        for offset in range(len(TEXT) + 1):
            told = await follow(client, job.handle, raw=False, offset=offset)
            expected = TEXT[begin_of_character(TEXT, offset) :].decode(errors="replace")
            assert told.text.get(pb.STREAM_STDOUT, "") == expected, offset
            told.check_complete()


async def test_text_that_is_cut_after_each_message_is_the_same_text(
    server: RunningServer,
) -> None:
    """Printed byte by byte on two streams in turn, read by one who comes back after each one."""
    told = Told()
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "relay", "cut")
        with gate:
            for number, byte in enumerate(TEXT):
                for stream in (1, 2):
                    await gate.write(bytes([byte]), stream)
                    reached = 2 * number + stream
                    await follow(client, job.handle, until=at(reached))
                    if stream == 2 and number % 3 == 0:
                        await follow(client, job.handle, told, raw=False, no_follow=True)
        await client.wait(job.handle)
        await follow(client, job.handle, told, raw=False)
    told.check_complete()
    expected = TEXT.decode(errors="replace")
    assert told.text == {pb.STREAM_STDOUT: expected, pb.STREAM_STDERR: expected}


async def test_text_of_one_stream_has_nothing_of_the_other(server: RunningServer) -> None:
    """Begun where a character of stderr is unfinished, text of stdout is stdout's alone."""
    euro = "€".encode()
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "relay", "other")
        with gate:
            for stream, data in ((2, euro[:2]), (1, b"one"), (2, euro[2:]), (1, b"two")):
                before = (await client.status(job.handle)).job.output_next_offset
                await gate.write(data, stream)
                reached = before + len(data)
                await follow(client, job.handle, until=at(reached))
        await client.wait(job.handle)
        for begin in (0, 2, 3):
            told = await follow(
                client, job.handle, raw=False, offset=begin, streams=[pb.STREAM_STDOUT]
            )
            assert told.text == {pb.STREAM_STDOUT: "onetwo"[max(0, begin - 2) :]}


async def test_a_reader_of_one_stream_takes_nothing_from_a_reader_of_both(
    server: RunningServer,
) -> None:
    """Though it was there first, and passed over what the other one wants."""
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "relay", "both")
        with gate:
            await gate.write(b"error", 2)
            await follow(
                client, job.handle, until=at(5), streams=[pb.STREAM_STDOUT], heartbeat_s=0.1
            )
            await gate.write(b"out", 1)
        end = (await client.wait(job.handle)).end
        for raw in (True, False):
            one = await follow(client, job.handle, raw=raw, streams=[pb.STREAM_STDOUT])
            both = await follow(client, job.handle, raw=raw)
            assert (one.received, one.passed_over) == (3, 5)
            assert (both.received, both.passed_over) == (8, 0)
            assert both.check_complete() == end


@pytest.mark.parametrize(
    ("command", "size"), [("binary", BINARY_BYTES), ("ones", ONES), ("line", LINE_BYTES)]
)
async def test_any_bytes_are_exact(server: RunningServer, command: str, size: int) -> None:
    """Binary, one byte at a time, 10 MB without a newline: raw to the byte, text as decoded."""
    path = server.directory / command
    expected = path.read_bytes() if path.exists() else b"x" * LINE_BYTES
    async with connect(server.endpoint("alice")) as client:
        job = await client.start(command)
        raw = await follow(client, job.handle)
        text = await follow(client, job.handle, raw=False)
    end = raw.check_complete()
    assert (end.output_bytes, end.output_sha256) == (size, raw.digest.hexdigest())
    assert raw.data() == expected
    text.check_complete()
    assert text.text == {pb.STREAM_STDOUT: expected.decode(errors="replace")}
