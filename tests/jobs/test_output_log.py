"""The log: what goes in through pipes comes out of every cursor, whatever happens between."""

import fcntl
import os
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.jobs.bounds import Budget, Intake, MustStop, OutputBound
from penstock.jobs.capture import Bandwidth, capture, close_pipe, drain
from penstock.jobs.cursors import CHUNK_BYTES, Chunk
from penstock.jobs.errors import OffsetPastEnd
from penstock.jobs.gaps import Gap
from penstock.jobs.output import OutputLog
from penstock.jobs.readers import OutputReader


class Pipe:
    """A pipe whose read end never blocks, as the supervisor makes them."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def write(self, data: bytes) -> None:
        assert os.write(self.write_fd, data) == len(data)

    def close(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


async def everything(reader: OutputReader) -> list[Chunk | Gap]:
    """Every piece that a reader has to give; it is closed."""
    with reader:
        return [piece async for piece in reader]


def collect(reader: OutputReader) -> bytes:
    """The bytes of a reader that does not wait and meets no gap."""
    return data_of(trio.run(everything, reader))


def data_of(pieces: list[Chunk | Gap]) -> bytes:
    """Their bytes; none may be a gap."""
    assert all(isinstance(piece, Chunk) for piece in pieces), pieces
    return b"".join(piece.data for piece in pieces if isinstance(piece, Chunk))


def nothing(_: MustStop) -> None:
    raise AssertionError("the disk is fine")


def intake_of(log: OutputLog) -> Intake:
    return Intake(log, OutputBound(), Budget(), clock=lambda: 0.0)


@settings(deadline=None)
@given(
    writes=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=300))),
    offset=st.integers(0, 3000),
)
def test_every_cursor_reads_the_same_bytes(
    writes: list[tuple[int, bytes]], offset: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From any offset, chunks are contiguous, of the right stream, and join to what was written."""
    log = OutputLog.create(str(tmp_path_factory.mktemp("log") / "job"))
    pipe = Pipe()
    owners = b""
    for stream, data in writes:
        pipe.write(data)
        assert log.move(pipe.read_fd, 1 if stream == 1 else 2) == len(data)
        owners += bytes([stream]) * len(data)
    written = b"".join(data for _, data in writes)
    offset = min(offset, len(written))

    async def read() -> None:
        position = offset
        with OutputReader(log, offset, follow=False) as reader:
            async for chunk in reader:
                assert isinstance(chunk, Chunk)
                assert chunk.offset == position
                assert set(owners[position : position + len(chunk.data)]) == {chunk.stream}
                assert chunk.data == written[position : position + len(chunk.data)]
                position += len(chunk.data)
        assert position == len(written)

    trio.run(read)
    log.finish()
    pipe.close()


def test_one_byte_at_a_time_does_not_make_an_entry_each(tmp_path: Path) -> None:
    """Runs of one stream share entries, so the index stays small."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    for number in range(2000):
        pipe.write(bytes([number % 256]))
        log.move(pipe.read_fd, 1)
    assert log.statistics()["length"] == 2000
    assert log.statistics()["entries"] < 500
    assert collect(OutputReader(log, 0, follow=False)) == bytes(n % 256 for n in range(2000))
    log.finish()
    pipe.close()


def test_an_empty_pipe_leaves_no_entry(tmp_path: Path) -> None:
    """EAGAIN and end of file add nothing that a reader could see."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    with pytest.raises(BlockingIOError):
        log.move(pipe.read_fd, 1)
    os.close(pipe.write_fd)
    assert log.move(pipe.read_fd, 2) == 0
    assert (log.statistics()["entries"], log.length, log.stored_bytes) == (0, 0, 0)
    os.close(pipe.read_fd)
    log.finish()


def test_a_loaded_log_reads_as_it_was_and_an_offset_past_it_is_refused(tmp_path: Path) -> None:
    """The position after a restart is the file's size and nothing else."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    data = os.urandom(60_000)
    pipe.write(data)
    assert log.move(pipe.read_fd, 1) == len(data)
    log.finish()
    pipe.close()
    loaded = OutputLog.load(str(tmp_path / "job"))
    assert collect(OutputReader(loaded, 0, follow=True)) == data
    assert collect(OutputReader(loaded, len(data), follow=True)) == b""
    with pytest.raises(OffsetPastEnd):
        OutputReader(loaded, len(data) + 1, follow=True)


async def test_followers_get_what_is_written_while_they_wait(tmp_path: Path) -> None:
    """Lock-step: a follower waits, bytes come, it has them; the end ends it."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    got: list[bytes] = []

    async def follow() -> None:
        with OutputReader(log, 0, follow=True) as reader:
            async for chunk in reader:
                got.append(data_of([chunk]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for number in range(3):
            await trio.testing.wait_all_tasks_blocked()
            assert len(got) == number
            pipe.write(b"%d" % number)
            log.move(pipe.read_fd, 1)
            log.notify()
        await trio.testing.wait_all_tasks_blocked()
        assert got == [b"0", b"1", b"2"]
        log.finish()
    pipe.close()


async def test_a_wake_up_may_be_lost_but_no_byte(tmp_path: Path) -> None:
    """Many notifies before a reader runs leave one wake-up; the reader has every byte."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    with OutputReader(log, 0, follow=True) as reader:
        for _ in range(50):
            pipe.write(b"x" * 100)
            log.move(pipe.read_fd, 1)
            log.notify()
        log.finish()
        assert data_of([piece async for piece in reader]) == b"x" * 5000
    pipe.close()


async def test_a_cancelled_reader_frees_its_place_and_others_lose_nothing(tmp_path: Path) -> None:
    """C1: after the cancel nobody is subscribed but the other one."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    seen: list[bytes] = []

    async def follow(scope: trio.CancelScope) -> None:
        with scope, OutputReader(log, 0, follow=True) as reader:
            async for chunk in reader:
                seen.append(data_of([chunk]))

    first, second = trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, first)
        nursery.start_soon(follow, second)
        await trio.testing.wait_all_tasks_blocked()
        assert log.statistics()["readers"] == 2
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert log.statistics()["readers"] == 1
        pipe.write(b"after")
        log.move(pipe.read_fd, 1)
        log.finish()
    assert seen == [b"after"]
    assert log.statistics()["readers"] == 0
    pipe.close()


async def test_capture_moves_until_the_pipe_ends(tmp_path: Path) -> None:
    """More than a chunk, a splice and a pipe hold, through the task itself."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    os.set_blocking(pipe.write_fd, True)
    data = os.urandom(3 * 2**20 + 17)

    def write() -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(pipe.write_fd, view) :]
        os.close(pipe.write_fd)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(capture, intake_of(log), pipe.read_fd, 1, Bandwidth(None), nothing)
        nursery.start_soon(trio.to_thread.run_sync, write)
    close_pipe(pipe.read_fd)
    chunks = await everything(OutputReader(log, 0, follow=False))
    assert data_of(chunks) == data
    assert max(len(data_of([chunk])) for chunk in chunks) <= CHUNK_BYTES
    log.finish()


def test_drain_takes_one_pipe_and_no_more(tmp_path: Path) -> None:
    """A descriptor that escaped the job cannot hold its end back."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    size = fcntl.fcntl(pipe.read_fd, 1032)
    pipe.write(b"y" * size)
    drain(intake_of(log), pipe.read_fd, 1)
    assert log.length == size
    drain(intake_of(log), pipe.read_fd, 1)  # empty, but not ended
    assert log.length == size
    log.finish()
    pipe.close()


@pytest.mark.mock_clock
async def test_bandwidth_is_kept_over_time() -> None:
    """A bucket of 1000 bytes a second lets 5000 through in about five seconds, in virtual time."""
    bandwidth = Bandwidth(1000)
    begin = trio.current_time()
    for _ in range(50):
        await bandwidth.spend(100)
    assert 4.8 <= trio.current_time() - begin <= 5.0
