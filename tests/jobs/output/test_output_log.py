"""The log: what goes in through pipes comes out of every cursor, whatever happens between."""

import fcntl
import itertools
import os
import re
import tempfile
from pathlib import Path

import pytest
import trio
import trio.testing
from fake_disk import STDOUT_PIPE, FakeDisk
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.jobs.job_errors import OffsetPastEnd
from penstock.jobs.output.capture import COALESCE_S, Bandwidth, Pace, drain, reader_task
from penstock.jobs.output.cursor import BOTH, CHUNK_BYTES, Chunk
from penstock.jobs.output.disk import RealDisk
from penstock.jobs.output.gaps import Gap
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.output_quota import Intake, MustStop, MustWait, OutputBound, OutputBudget
from penstock.jobs.output.reader import OutputReader
from penstock.jobs.output.seek import (
    begin_of_lines,
    begin_of_time,
    seek_lines,
    seek_time,
    unfinished_characters,
)
from penstock.jobs.output.segment_index import StreamNumber


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
    return Intake(log, OutputBound(), OutputBudget(), clock=lambda: 0.0)


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
        nursery.start_soon(reader_task, intake_of(log), pipe.read_fd, 1, Bandwidth(None), nothing)
        nursery.start_soon(trio.to_thread.run_sync, write)
    RealDisk().close_pipe(pipe.read_fd)
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


async def test_a_job_that_must_wait_goes_on_when_somebody_frees_room(tmp_path: Path) -> None:
    """`wait`: nothing is moved and nothing is lost until another log of the client is gone."""
    log = OutputLog.create(str(tmp_path / "job"), limit_bytes=None)
    budget = OutputBudget(200_000)
    budget.charge(200_000)
    pipe = Pipe()
    pipe.write(b"z" * 1000)
    os.close(pipe.write_fd)
    intake = Intake(log, OutputBound(None, "wait"), budget)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader_task, intake, pipe.read_fd, 1, Bandwidth(None), nothing)
        await trio.testing.wait_all_tasks_blocked()
        assert log.length == 0
        budget.charge(-100_000)
    assert (log.length, log.gaps()) == (1000, ())
    log.finish()
    RealDisk().close_pipe(pipe.read_fd)


@pytest.mark.mock_clock
async def test_a_full_disk_is_tried_again_each_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wait` and a disk that tells nobody when it has room: in virtual time, as nothing is read."""
    free = [0, 0, 0, 1 << 40]  # first as it is made: it has no reserve
    monkeypatch.setattr(RealDisk, "free_bytes", lambda *_: free.pop(0))
    log = OutputLog.create(str(tmp_path / "job"))
    intake = Intake(log, OutputBound(None, "wait"), OutputBudget())
    pipe = Pipe()
    pipe.write(b"late")
    begin = trio.current_time()
    moved = 0
    reasons: list[MustWait] = []
    while not moved:
        try:
            moved = intake.take(pipe.read_fd, 1)
        except MustWait as reason:
            reasons.append(reason)
            await intake.wait_room(reason)
    assert (log.length, trio.current_time() - begin) == (4, 2.0)
    assert [reason.on_disk for reason in reasons] == [True, True]
    log.finish()
    pipe.close()


async def test_a_job_that_must_be_stopped_is_told_once(tmp_path: Path) -> None:
    """`stop`: the capture ends; what is in the pipe is a gap when it is drained."""
    log = OutputLog.create(str(tmp_path / "job"), limit_bytes=131_072)
    intake = Intake(log, OutputBound(131_072, "stop"), OutputBudget())
    pipe = Pipe()
    told: list[MustStop] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader_task, intake, pipe.read_fd, 1, Bandwidth(None), told.append)
        for _ in range(4):
            pipe.write(b"x" * 40_000)
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert [reason.error for reason in told] == [None]
    drain(intake, pipe.read_fd, 1)
    (gap,) = log.gaps()
    assert (gap.reason, gap.end, log.length) == ("quota", 160_000, 160_000)
    log.finish()
    pipe.close()


@pytest.mark.mock_clock
async def test_small_writes_in_quick_succession_are_taken_together() -> None:
    """A lone one waits for nothing; of many, one wake-up in 5 ms; a half full pipe never waits."""
    pipe = Pipe()
    pace = Pace(RealDisk().capacity(pipe.read_fd))
    begin = trio.current_time()
    for _ in range(8):
        await pace.wait(10)
    assert trio.current_time() == pytest.approx(begin)
    for _ in range(20):
        await pace.wait(10)
    assert trio.current_time() - begin == pytest.approx(20 * COALESCE_S)
    before = trio.current_time()
    await pace.wait(40_000)
    assert trio.current_time() == before
    await trio.sleep(1)
    before = trio.current_time()
    await pace.wait(10)
    assert trio.current_time() == before
    pipe.close()


async def test_a_gap_that_grows_is_told_to_who_follows(tmp_path: Path) -> None:
    """A follower hears of bytes that are left out while they are, and loses count of none."""
    log = OutputLog.create(str(tmp_path / "job"), limit_bytes=131_072)
    intake = Intake(log, OutputBound(131_072, "drop_newest"), OutputBudget(), clock=lambda: 0.0)
    pipe = Pipe()
    with OutputReader(log) as reader:
        received = gaps = 0
        for _ in range(10):
            pipe.write(b"x" * 30_000)
            while True:
                try:
                    intake.take(pipe.read_fd, 1)
                except BlockingIOError:
                    break
            while reader.offset < log.length:
                piece = reader.take()
                if isinstance(piece, Gap):
                    gaps += piece.end - piece.start
                elif piece is not None:
                    received += len(piece.data)
        assert (received + gaps, gaps > 150_000) == (300_000, True)
    log.finish()
    pipe.close()


@pytest.mark.parametrize(
    ("count", "streams", "expected"),
    [
        (1, BOTH, b"last"),
        (2, BOTH, b"three\nlast"),
        (3, BOTH, b"error\nthree\nlast"),
        (99, BOTH, b"one\ntwo\nerror\nthree\nlast"),
        (1, {2}, b"error\n"),
        (2, {1}, b"three\nlast"),
        (3, {1}, b"two\nthree\nlast"),
    ],
)
async def test_so_many_lines_before_the_end(
    tmp_path: Path, count: int, streams: set[StreamNumber], expected: bytes
) -> None:
    """A last line without its end counts; of some streams only their lines do."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    for stream, data in ((1, b"one\ntwo\n"), (2, b"error\n"), (1, b"three\nlast")):
        pipe.write(data)
        log.move(pipe.read_fd, 1 if stream == 1 else 2)
    offset = await seek_lines(log, count, streams)
    assert data_of(await everything(OutputReader(log, offset, False, streams))) == expected
    log.finish()
    pipe.close()


@pytest.mark.parametrize(
    ("pieces", "count", "expected"),
    [
        ([b"10%\r20%\r30%\r"], 1, b"30%\r"),
        ([b"10%\r20%\r30%"], 1, b"30%"),
        ([b"\r10%\r20%\r30%\ndone\n"], 2, b"30%\ndone\n"),
        ([b"one\r\ntwo\r\n"], 1, b"two\r\n"),
        ([b"one\r\ntwo\r\n"], 2, b"one\r\ntwo\r\n"),
        ([b"one\r", b"\ntwo\r", b"\n"], 1, b"two\r\n"),
        ([b"one\r", b"\ntwo\r", b"\n"], 2, b"one\r\ntwo\r\n"),
        ([b"one\ntwo\n"], 0, b""),
        ([b"one\ntw"], 0, b""),
        ([], 0, b""),
        ([], 3, b""),
    ],
)
async def test_a_carriage_return_ends_a_line(
    tmp_path: Path, pieces: list[bytes], count: int, expected: bytes
) -> None:
    """Or the last of a progress bar could not be had without all of it; before a line feed it is
    one end with that, also where the two were written apart, with another stream between."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    for piece in pieces:
        for stream, data in ((1, piece), (2, b"!")):
            pipe.write(data)
            log.move(pipe.read_fd, 1 if stream == 1 else 2)
    offset = await seek_lines(log, count, {1})
    assert data_of(await everything(OutputReader(log, offset, False, {1}))) == expected
    log.finish()
    pipe.close()


@settings(max_examples=40)
@given(text=st.text(alphabet="ab\r\n", max_size=30), count=st.integers(0, 12))
def test_the_last_lines_are_those_of_a_plain_reading(text: str, count: int) -> None:
    """Split at every end of a line; a last one without its end counts."""
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)

    async def found() -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            log = OutputLog.create(f"{directory}/job")
            pipe = Pipe()
            if text:
                pipe.write(text.encode())
                log.move(pipe.read_fd, 1)
            offset = await seek_lines(log, count)
            rest = data_of(await everything(OutputReader(log, offset, False)))
            log.finish()
            pipe.close()
            return rest

    expected = "".join(lines[len(lines) - count :] if count <= len(lines) else lines)
    assert trio.run(found) == expected.encode()


async def test_lines_far_back_are_found_over_chunks_and_segments(tmp_path: Path) -> None:
    """Ten thousand lines of fifty bytes, in segments of 16 KiB."""
    log = OutputLog.create(str(tmp_path / "job"), limit_bytes=131_072)
    log._chain._segment_bytes = 16_384
    pipe = Pipe()
    text = b"".join(b"%049d\n" % number for number in range(10_000))
    for at in range(0, len(text), 50_000):
        pipe.write(text[at : at + 50_000])
        while log.length < at + 50_000:
            log.move(pipe.read_fd, 1)
    for count in (1, 2, 1311, 9_999, 10_000):
        assert await seek_lines(log, count) == len(text) - 50 * count
    assert await seek_lines(log, 10_001) == 0
    while log.first < 200_000:
        assert log.drop_oldest()
    assert await seek_lines(log, 10_000) == log.first
    # Less than was asked for is told as a gap, and so is what may be of the time asked for.
    kept = text[log.first :].count(b"\n")
    for count in (1, kept):
        assert await begin_of_lines(log, count) == await seek_lines(log, count) > 0
    assert await begin_of_lines(log, kept + 2) == await begin_of_lines(log, 10_000) == 0
    assert await begin_of_lines(log, 1, {2}) == 0
    assert await begin_of_lines(log, 0) == log.length
    assert begin_of_time(log, 1) == 0
    assert begin_of_time(log, 2**62) == log.length
    log.finish()
    pipe.close()


def test_a_time_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first byte written then or later, over segments; nothing later is the end."""
    log = OutputLog.create(str(tmp_path / "job"))
    pipe = Pipe()
    now = [0]
    monkeypatch.setattr("penstock.jobs.output.segment_chain.time.time_ns", lambda: now[0])
    for number in range(20):
        now[0] = 1_000_000_000 * (number + 1)
        pipe.write(b"%08d" % number)
        log.move(pipe.read_fd, 1)
        if number % 6 == 5:
            log.segments()[-1].close()
            log._chain._let_go(log.segments()[-1])
    assert seek_time(log, 1) == 0
    assert seek_time(log, 7_000_000_000) == 48
    assert seek_time(log, 7_000_000_001) == 56
    assert seek_time(log, 20_000_000_000) == 152
    assert seek_time(log, 20_000_000_001) == log.length
    log.finish()
    pipe.close()


@given(st.text(max_size=60), st.integers(0, 200), st.lists(st.integers(0, 200), max_size=4))
def test_text_goes_on_where_it_was_cut(text: str, offset: int, cuts: list[int]) -> None:
    """A reader that begins anywhere gets the characters that end from there on, whole."""
    disk = FakeDisk()
    log = OutputLog.create("/log", disk=disk)
    data = text.encode("utf-8", "replace")
    places = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    for begin, end in itertools.pairwise(places):
        disk.pipes[STDOUT_PIPE] += data[begin:end]
        if end > begin:
            log.move(STDOUT_PIPE, 1)
    offset = min(offset, len(data))
    rest = trio.run(unfinished_characters, log, offset).get(1, b"")
    head = data[: offset - len(rest)].decode()
    assert head + (rest + data[offset:]).decode() == text
    log.finish()
