"""A thousand readers of one log: whenever they join, the same bytes."""

import os
import random
from pathlib import Path

import pytest
import trio

from penstock.jobs.output.capture import Bandwidth, reader_task
from penstock.jobs.output.cursor import Chunk
from penstock.jobs.output.disk import RealDisk
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.output_quota import Intake, OutputBound, OutputBudget
from penstock.jobs.output.reader import OutputReader

READERS = 1000
SIZE = 100 * 1000 * 1000
PART = 200_000


@pytest.mark.release
@pytest.mark.timeout(1800)
async def test_a_thousand_readers_that_join_at_random_moments_read_the_same(
    tmp_path: Path,
) -> None:
    """Of 100 MB that are being written, on the real disk: every byte of every reader is compared.

    Through TLS it is what tests/system/test_output_promises.py does with fewer bytes.
    """
    log = OutputLog.create(str(tmp_path / "job"), limit_bytes=2**30)
    intake = Intake(log, OutputBound(2**30), OutputBudget())
    truth = memoryview(random.Random(40).randbytes(SIZE))
    moments = random.Random(41)
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    received = 0

    def nothing(_: object) -> None:
        raise AssertionError("nothing is full")

    async def write() -> None:
        rest = truth
        while rest:
            try:
                rest = rest[os.write(write_fd, rest[:PART]) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(write_fd)
            await trio.lowlevel.checkpoint()
        os.close(write_fd)

    async def read() -> None:
        nonlocal received
        position = 0
        with OutputReader(log) as reader:
            async for piece in reader:
                assert isinstance(piece, Chunk)
                assert piece.offset == position
                position += len(piece.data)
                assert piece.data == truth[piece.offset : position]
        assert position == SIZE
        received += 1

    async with trio.open_nursery() as readers:
        async with trio.open_nursery() as writing:
            writing.start_soon(reader_task, intake, read_fd, 1, Bandwidth(None), nothing)
            writing.start_soon(write)
            for moment in sorted(moments.randrange(SIZE) for _ in range(READERS)):
                with OutputReader(log) as progress:
                    while log.length < moment:
                        progress.skip(log.length)
                        await progress.wait_ready()
                readers.start_soon(read)
        log.seal()
        log.finish()
    RealDisk().close_pipe(read_fd)
    assert received == READERS
    assert log.statistics()["readers"] == 0
