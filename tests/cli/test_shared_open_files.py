"""A descriptor that is handed over is of an open file that other processes have, too: they read
from it, and make it non-blocking."""

import os

import trio
import trio.testing
from fake_service import chunk, fake_server, finished
from hosted_lines import hosted_line, printing_service

from penstock.cli.handed_input import HandedInput


async def test_a_pipe_that_another_process_made_non_blocking() -> None:
    """O_NONBLOCK is the open file's, so ssh or Node may set it: a full one is waited for, and the
    rest of what came too fast is read later, all of it."""
    service = printing_service()
    pieces = [bytes([65 + number]) * 50_000 for number in range(6)]
    service.messages = [
        *(chunk(piece, offset=50_000 * number) for number, piece in enumerate(pieces)),
        finished(),
    ]
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    async with fake_server(service) as server:
        words = ["stream", "--raw", "5"]
        async with hosted_line(words, server.environment(), out=theirs) as line:
            await service.stream_read.wait()
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert not line.ended.is_set()
            read = bytearray()
            await line.collect(ours, read)
    assert (line.code, bytes(line.err)) == (0, b"")
    assert read == b"".join(pieces)


async def test_input_that_another_process_takes_first() -> None:
    """It shares the open file, and has made it non-blocking: the next input is waited for."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    taken, received = list[bytes](), list[bytes]()

    class TakenInput(HandedInput):
        def _read(self, count: int) -> bytes:
            if not taken:
                taken.append(os.read(ours, 10))  # by the other process
            return super()._read(count)

    stdin = TakenInput(ours)

    async def receive() -> None:
        received.append(await stdin.receive(10))

    os.write(theirs, b"one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked(0.05)
        os.write(theirs, b"two")
    assert (taken, received) == ([b"one"], [b"two"])
    os.close(theirs)
    stdin.close()
