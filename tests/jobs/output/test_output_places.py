"""The log to the byte: how large segments are, what is refused when, where gaps begin and end.

Over the disk in memory, so that every file, size and fault is known.
"""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from fake_disk import STDERR_PIPE, STDOUT_PIPE, FakeDisk, Killed

from penstock.jobs.job_errors import OffsetPastEnd
from penstock.jobs.output.cursor import Cursor
from penstock.jobs.output.gaps import Gap
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.seek import seek_lines, seek_time, unfinished_characters
from penstock.jobs.output.segment_chain import RESERVE_BYTES, SPLICE_BYTES
from penstock.jobs.output.segment_index import ENTRY_BYTES, StreamNumber

DIRECTORY = "/state/jobs/one"
MIB = 1024 * 1024


def made(disk: FakeDisk, limit_bytes: int | None = None) -> OutputLog:
    return OutputLog.create(DIRECTORY, limit_bytes=limit_bytes, disk=disk)


def write(log: OutputLog, disk: FakeDisk, count: int, stream: int = 1) -> None:
    """So many bytes go through the pipe to the log, in as many moves as it takes."""
    pipe = STDOUT_PIPE if stream == 1 else STDERR_PIPE
    disk.pipes[pipe] += bytes(count)
    while disk.pipes[pipe]:
        assert log.move(pipe, 1 if stream == 1 else 2)


def leave_out(log: OutputLog, disk: FakeDisk, count: int) -> None:
    """So many bytes go through the pipe and are counted as a gap."""
    disk.pipes[STDOUT_PIPE] += bytes(count)
    assert log.discard(STDOUT_PIPE, "quota", count) == count


def three_segments(disk: FakeDisk) -> OutputLog:
    """Two that are full, as their entry comes on top, and one with the rest: a run each."""
    log = made(disk, 8 * 16_384)
    write(log, disk, 40_000)
    spans = [(each.start, each.end) for each in log.segments()]
    assert spans == [(0, 16_384), (16_384, 32_768), (32_768, 40_000)]
    return log


@pytest.mark.parametrize(
    ("limit_bytes", "segment_bytes"),
    [
        (None, 32 * MIB),
        (16 * 32 * MIB, 32 * MIB),
        (8 * 20_000, 20_000),
        (8 * 20_000 + 7, 20_000),
        (8 * 16_384, 16_384),
        (1000, 16_384),
    ],
)
@pytest.mark.parametrize("life", ["first", "next"])
def test_a_segment_is_an_eighth_of_the_bound(
    limit_bytes: int | None, segment_bytes: int, life: str
) -> None:
    """From 16 KiB to 32 MiB: what goes first is a segment, so no more than that is lost at once."""
    disk = FakeDisk()
    log = made(disk, limit_bytes)
    if life == "next":
        write(log, disk, 1)
        disk.die()
        log = OutputLog.resume(DIRECTORY, limit_bytes=limit_bytes, disk=disk)
    write(log, disk, segment_bytes + 10)
    first, second = log.segments()
    # A move of much else ends where the segment does; its entry may be above that.
    assert segment_bytes <= first.stored_bytes <= segment_bytes + ENTRY_BYTES
    assert second.start == first.end
    log.finish()


def test_a_move_takes_no_more_than_it_is_told_and_than_fits() -> None:
    """``most``, a splice, and what the segment has left, whichever is least."""
    disk = FakeDisk()
    log = made(disk)
    disk.pipes[STDOUT_PIPE] += bytes(4 * SPLICE_BYTES)
    assert log.move(STDOUT_PIPE, 1, 10) == 10
    assert log.move(STDOUT_PIPE, 1) == SPLICE_BYTES == 258_048
    assert log.move(STDOUT_PIPE, 1, 2 * SPLICE_BYTES) == SPLICE_BYTES
    log.finish()
    disk = FakeDisk()
    log = made(disk, 1)
    disk.pipes[STDOUT_PIPE] += bytes(20_000)
    # The segment has 16 KiB, and one byte always goes: else nothing would.
    moves = [log.move(STDOUT_PIPE, 1, most) for most in (16_384 - ENTRY_BYTES - 1, 50, 50)]
    assert moves == [16_384 - ENTRY_BYTES - 1, 1, 50]
    assert [each.start for each in log.segments()] == [0, 16_384 - ENTRY_BYTES]
    log.finish()


def test_the_last_of_the_disk_is_not_taken() -> None:
    """4 MiB stay free, and what the caller asks besides; just as much is enough."""
    disk = FakeDisk()
    log = made(disk)
    disk.pipes[STDOUT_PIPE] += b"abc"
    disk.capacity_bytes = RESERVE_BYTES - 1
    with pytest.raises(OSError, match="No space left on device") as caught:
        log.move(STDOUT_PIPE, 1)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, DIRECTORY)
    disk.capacity_bytes = RESERVE_BYTES
    with pytest.raises(OSError, match="No space left on device"):
        log.move(STDOUT_PIPE, 1, spare_bytes=1)
    assert (log.length, log.stored_bytes, len(disk.pipes[STDOUT_PIPE])) == (0, 0, 3)
    assert log.move(STDOUT_PIPE, 1) == 3
    assert RESERVE_BYTES == 4 * MIB
    log.finish()


def test_runs_of_5_ms_share_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other stream, and the same one 5 ms after its entry, have one of their own."""
    now_ns = 1_000_000_000
    monkeypatch.setattr("time.time_ns", lambda: now_ns)
    disk = FakeDisk()
    log = made(disk)
    for stream, after_ns, entries in [(1, 0, 1), (1, 4_999_999, 1), (1, 5_000_000, 2), (2, 0, 3)]:
        now_ns = 1_000_000_000 + after_ns
        write(log, disk, 1, stream)
        assert log.statistics()["entries"] == entries
    assert log.stored_bytes == 4 + 3 * ENTRY_BYTES
    log.finish()


def test_a_log_says_what_it_is() -> None:
    """Its figures, by name; what is finished and what was dropped is counted off."""
    disk = FakeDisk()
    log = three_segments(disk)
    assert (log.directory, log.ended) == (DIRECTORY, False)
    stored = 40_000 + 3 * ENTRY_BYTES
    wakeups = log.broadcaster.subscribe()
    expected = {"readers": 1, "segments": 3, "entries": 3, "length": 40_000, "stored_bytes": stored}
    assert log.statistics() == expected
    assert log.drop_oldest()
    wakeups.close()
    dropped = stored - 16_384 - ENTRY_BYTES
    expected |= {"readers": 0, "segments": 2, "entries": 2, "stored_bytes": dropped}
    assert log.statistics() == expected
    assert log.first == 16_384
    log.finish()
    assert (log.ended, disk.open_files) == (True, 0)


def test_every_byte_has_its_segment_or_its_gap() -> None:
    """At each edge: the byte before and the byte after."""
    disk = FakeDisk()
    log = three_segments(disk)
    leave_out(log, disk, 500)
    write(log, disk, 100)
    assert log.drop_oldest()
    first, second, third = log.segments()
    assert [log.segment_at(at) for at in (0, 16_383, 16_384, 32_767)] == [None, None, first, first]
    assert [log.segment_at(at) for at in (32_768, 39_999, 40_000)] == [second, second, None]
    assert [log.segment_at(at) for at in (40_499, 40_500, 40_599)] == [None, third, third]
    assert log.segment_at(40_600) is None
    assert log.missing_at(0) == Gap(0, 16_384, "retention")
    assert log.missing_at(16_383) == Gap(16_383, 16_384, "retention")
    assert log.missing_at(40_000) == Gap(40_000, 40_500, "quota")
    assert log.missing_at(40_499) == Gap(40_499, 40_500, "quota")
    assert log.gaps() == (Gap(0, 16_384, "retention"), Gap(40_000, 40_500, "quota"))
    log.check_offset(40_600)
    with pytest.raises(OffsetPastEnd) as caught:
        log.check_offset(40_601)
    assert (caught.value.offset, caught.value.next_offset) == (40_601, 40_600)
    log.finish()


def test_gaps_that_touch_keep_their_reasons() -> None:
    """Left out for one reason, then for another, then on; a reason that stays is one gap."""
    disk = FakeDisk()
    log = made(disk)
    disk.pipes[STDOUT_PIPE] += bytes(100)
    for reason, count in [("quota", 10), ("quota", 10), ("disk", 20)]:
        assert log.discard(STDOUT_PIPE, "quota" if reason == "quota" else "disk", count) == count
    assert log.move(STDOUT_PIPE, 1, 5) == 5
    assert log.discard(STDOUT_PIPE, "disk", 5) == 5
    expected = (Gap(0, 20, "quota"), Gap(20, 40, "disk"), Gap(45, 50, "disk"))
    assert log.gaps() == expected
    assert [log.missing_at(at).reason for at in (19, 20, 39, 45)] == ["quota", *["disk"] * 3]
    disk.die()
    assert OutputLog.load(DIRECTORY, disk=disk).gaps() == expected


def test_a_gap_of_an_earlier_life_does_not_grow() -> None:
    """Bytes came behind it: what is left out for the same reason now is another gap."""
    disk = FakeDisk()
    log = made(disk)
    leave_out(log, disk, 10)
    write(log, disk, 5)
    disk.die()
    again = OutputLog.resume(DIRECTORY, disk=disk)
    leave_out(again, disk, 3)
    assert again.gaps() == (Gap(0, 10, "quota"), Gap(15, 18, "quota"))
    again.finish()


def test_a_gap_goes_on_over_a_segment_that_got_nothing() -> None:
    """It was begun for bytes that did not come: one gap is told, not two."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 3)
    leave_out(log, disk, 2)
    with pytest.raises(BlockingIOError):
        log.move(STDOUT_PIPE, 1)
    assert [each.start for each in log.segments()] == [0, 5]
    leave_out(log, disk, 5)
    assert log.gaps() == (Gap(3, 10, "quota"),)
    log.finish()


def test_nothing_left_out_is_no_gap() -> None:
    """An empty pipe, and one that has ended, may come when bytes were to be left out."""
    disk = FakeDisk()
    log = made(disk)
    with pytest.raises(BlockingIOError):
        log.discard(STDOUT_PIPE, "quota")
    disk.end()
    assert log.discard(STDOUT_PIPE, "quota") == 0
    assert (log.length, log.gaps()) == (0, ())
    log.finish()


def test_what_was_lost_in_the_middle_is_damaged_and_in_front_retention() -> None:
    """Of a job without an end record; with one, all that is not in it is damaged."""
    disk = FakeDisk()
    log = three_segments(disk)
    log.finish()
    for name in ("0" * 20, f"{16_384:020}"):
        del disk.files[f"{DIRECTORY}/{name}.output"]
    lost = OutputLog.load(DIRECTORY, disk=disk)
    assert lost.gaps() == (Gap(0, 32_768, "retention"),)
    assert lost.stored_bytes == 40_000 - 32_768 + ENTRY_BYTES
    recorded = OutputLog.load(DIRECTORY, length=40_000, sealed=False, disk=disk)
    assert recorded.gaps() == (Gap(0, 32_768, "damaged"),)
    known = [Gap(0, 100, "retention"), Gap(20_000, 20_010, "quota")]
    recorded = OutputLog.load(DIRECTORY, length=40_000, gaps=known, sealed=False, disk=disk)
    assert recorded.gaps() == (
        known[0],
        Gap(100, 20_000, "damaged"),
        known[1],
        Gap(20_010, 32_768, "damaged"),
    )


def test_a_hole_between_two_segments_is_damaged() -> None:
    """Also where nothing was left out on purpose, and up to the next byte that is there."""
    disk = FakeDisk()
    log = three_segments(disk)
    log.finish()
    del disk.files[f"{DIRECTORY}/{16_384:020}.output"]
    lost = OutputLog.load(DIRECTORY, disk=disk)
    assert lost.gaps() == (Gap(16_384, 32_768, "damaged"),)
    assert (lost.first, lost.length) == (0, 40_000)


def test_a_length_from_the_record_is_the_length() -> None:
    """Files that grew are cut to it; what they lack is damaged."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 1000)
    log.seal()
    log.finish()
    shorter = OutputLog.load(DIRECTORY, length=600, disk=disk)
    assert (shorter.length, shorter.gaps()) == (600, ())
    assert shorter.stored_bytes == 600 + ENTRY_BYTES
    longer = OutputLog.load(DIRECTORY, length=1200, disk=disk)
    assert (longer.length, longer.gaps()) == (1200, (Gap(1000, 1200, "damaged"),))
    assert longer.ended
    refused = OutputLog.load(DIRECTORY, length=1000, gaps=[Gap(1000, 1000, "disk")], disk=disk)
    assert refused.gaps() == ()


def test_a_gap_at_the_end_of_a_lost_job_is_known() -> None:
    """The log ends where its files do, and the file of gaps is one of them."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 100)
    leave_out(log, disk, 50)
    disk.die()
    lost = OutputLog.load(DIRECTORY, disk=disk)
    assert (lost.length, lost.gaps()) == (150, (Gap(100, 150, "quota"),))
    again = OutputLog.resume(DIRECTORY, disk=disk)
    assert (again.length, again.ended) == (150, False)
    again.finish()


def test_a_file_of_gaps_that_cannot_be_read_costs_the_reasons_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was read of it does not count; the bytes are served."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 100)
    leave_out(log, disk, 50)
    write(log, disk, 100)
    disk.die()
    read = FakeDisk.read

    def failing(self: FakeDisk, fd: int, count: int, offset: int) -> bytes:
        if self._open[fd].endswith("/gaps"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(self, fd, count, offset)

    monkeypatch.setattr(FakeDisk, "read", failing)
    lost = OutputLog.load(DIRECTORY, disk=disk)
    assert (lost.length, lost.gaps()) == (250, (Gap(100, 150, "damaged"),))
    assert disk.open_files == 0


def test_a_log_that_goes_on_writes_behind_what_was_there() -> None:
    """In the same segment; stored bytes, entries and length go on, too."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 100)
    disk.die()
    again = OutputLog.resume(DIRECTORY, disk=disk)
    assert not again.ended
    write(again, disk, 11, 2)
    (segment,) = again.segments()
    assert (segment.start, segment.end) == (0, 111)
    assert again.stored_bytes == 111 + 2 * ENTRY_BYTES
    assert again.seal()
    again.finish()
    assert disk.open_files == 0


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
def test_a_last_segment_that_does_not_open_again(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Short of descriptors it is tried again later; a disk that fails costs nothing: another
    segment is begun, and the log must not be called sealed before the old one is closed."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 100)
    disk.die()
    opened = FakeDisk.open
    fails = False

    def failing(self: FakeDisk, path: str, *, create: bool = False) -> int:
        if fails and not create and path.endswith(".output"):
            raise OSError(code, os.strerror(code))
        return opened(self, path, create=create)

    def after_recovery(*arguments: object) -> int:
        nonlocal fails
        fails = True
        return 100

    monkeypatch.setattr(FakeDisk, "open", failing)
    monkeypatch.setattr("penstock.jobs.output.recovery.end_of_files", after_recovery)
    if code == errno.EMFILE:
        with pytest.raises(OSError, match="Too many open files"):
            OutputLog.resume(DIRECTORY, disk=disk)
        return
    again = OutputLog.resume(DIRECTORY, disk=disk)
    assert not again.ended
    assert not again.seal()
    write(again, disk, 11)
    assert [(each.start, each.end) for each in again.segments()] == [(0, 100), (100, 111)]
    again.finish()
    assert disk.open_files == 0


@pytest.mark.parametrize("fails", [False, True])
def test_a_log_that_cannot_go_on_can_be_read_and_is_not_ended(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """What it has, or nothing of it: never an exception, and readers wait."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 100)
    disk.die()
    if fails:

        def names(self: FakeDisk, path: str) -> list[str]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(FakeDisk, "names", names)
    stuck = OutputLog.load_stuck(DIRECTORY, disk=disk)
    assert (stuck.directory, stuck.disk) == (DIRECTORY, disk)
    assert (stuck.length, stuck.ended) == (0 if fails else 100, False)
    if not fails:
        index = f"{DIRECTORY}/{0:020}.index"
        assert len(disk.files[index]) == ENTRY_BYTES
        assert stuck.seal(), "whoever ends the job closes it"
        assert len(disk.files[index]) == 2 * ENTRY_BYTES


def test_a_seal_that_the_disk_refuses_is_said() -> None:
    """The end record has to tell it; without faults the closing entry is there."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 100)
    disk.faults.append(errno.EIO)
    assert not log.seal()
    assert log.seal()
    log.finish()
    assert disk.open_files == 0
    disk.faults.append(errno.EIO)
    assert log.seal(), "there is nothing left to close, so the disk is not asked"
    disk.faults.clear()


@pytest.mark.parametrize("works", [True, False])
def test_a_log_that_a_crash_has_left_open_is_closed(works: bool) -> None:
    """As seal would have; a disk that refuses it is said."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 100)
    disk.die()
    lost = OutputLog.load(DIRECTORY, disk=disk)
    if not works:
        disk.faults.append(errno.EIO)
    assert lost.close_recovered() == works
    index = disk.files[f"{DIRECTORY}/{0:020}.index"]
    assert len(index) == (2 if works else 1) * ENTRY_BYTES
    assert disk.open_files == 0


def test_nothing_to_drop_is_said() -> None:
    """A segment without bytes is none; the one that is written to goes once it has some."""
    disk = FakeDisk()
    log = made(disk)
    assert not log.drop_oldest()
    assert log.first == 0
    write(log, disk, 10)
    assert log.drop_oldest()
    assert not log.drop_oldest()
    assert (log.first, log.length, log.stored_bytes) == (10, 10, 0)
    assert disk.open_files == 2  # of the next one
    write(log, disk, 5)
    assert [(each.start, each.end) for each in log.segments()] == [(10, 15)]
    log.finish()


def test_a_file_that_cannot_be_removed_is_told_to_the_operator(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """By name and with the reason: nobody else sees the disk fill up."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 10)
    disk.faults.extend([0, 0, errno.EROFS])
    assert log.drop_oldest()
    path = f"{DIRECTORY}/{0:020}.output"
    assert capfd.readouterr().err == (
        f"penstock: {path} cannot be removed: Read-only file system\n"
    )
    log.finish()


def test_a_removed_log_is_one_gap() -> None:
    """Also if its record said otherwise; its files are closed under whoever reads."""
    disk = FakeDisk()
    log = three_segments(disk)
    leave_out(log, disk, 10)
    write(log, disk, 10)
    log.remove()
    assert (log.ended, log.stored_bytes, log.first) == (True, 0, log.length)
    assert log.gaps() == (Gap(0, 40_020, "retention"),)
    assert (log.segments(), disk.open_files) == ([], 0)
    log.finish()
    damaged = OutputLog.load(DIRECTORY, length=40_020, disk=FakeDisk())
    assert damaged.gaps() == (Gap(0, 40_020, "damaged"),)
    damaged.remove()
    assert damaged.gaps() == (Gap(0, 40_020, "retention"),)


def test_a_digest_is_of_the_bytes_that_are_there() -> None:
    """Of each segment from its beginning, and no more than the log has of it."""
    disk = FakeDisk()
    log = three_segments(disk)
    assert log.digest().size == 40_000
    log.drop_oldest()
    assert log.digest().size == 40_000 - 16_384
    log.finish()


@pytest.mark.parametrize("end", [OutputLog.finish, OutputLog.remove])
async def test_the_end_of_a_log_wakes_its_readers(end: Callable[[OutputLog], None]) -> None:
    """As any change does."""
    log = made(FakeDisk())
    wakeups = log.broadcaster.subscribe()
    end(log)
    with trio.fail_after(5):
        await wakeups.wait()
    wakeups.close()
    log.finish()


def test_a_log_is_on_the_real_disk_unless_told(tmp_path: Path) -> None:
    """And a directory that is there already is somebody else's."""
    place = str(tmp_path / "job")
    log = OutputLog.create(place)
    log.finish()
    assert sorted(os.listdir(place)) == [f"{0:020}.index", f"{0:020}.output"]
    with pytest.raises(FileExistsError):
        OutputLog.create(place)
    assert OutputLog.load(place).length == 0


def many_runs(disk: FakeDisk, monkeypatch: pytest.MonkeyPatch, count: int) -> OutputLog:
    """Ten bytes at each second from 1 on, in turns on both streams; ended and loaded again."""
    now = [0]
    monkeypatch.setattr("penstock.jobs.output.segment_chain.time.time_ns", lambda: now[0])
    log = made(disk)
    for number in range(count):
        now[0] = 1_000_000_000 * (number + 1)
        write(log, disk, 10, 1 + number % 2)
    log.finish()
    return OutputLog.load(DIRECTORY, disk=disk)


def damage(disk: FakeDisk, first: int, last: int) -> None:
    """Entries of the first segment's index are no longer what was written, both included."""
    index = disk.files[f"{DIRECTORY}/{'0' * 20}.index"]
    for position in range(first, last + 1):
        index[position * ENTRY_BYTES] ^= 0xFF


def pieces(log: OutputLog, begin: int = 0) -> list[tuple[int, int, str]]:
    """Where each begins and ends, and its reason if it is a gap; those that touch as one."""
    found: list[tuple[int, int, str]] = []
    cursor = Cursor(log, begin)
    while cursor.offset < log.length:
        piece = cursor.take(log.length)
        assert piece is not None
        start, end = (
            (piece.start, piece.end) if isinstance(piece, Gap) else (piece.offset, piece.end)
        )
        reason = piece.reason if isinstance(piece, Gap) else ""
        if found and found[-1][1:] == (start, reason):
            start = found.pop()[0]
        found.append((start, end, reason))
    cursor.close()
    return found


@pytest.mark.parametrize(
    ("first", "last", "begin", "end"),
    [(5, 5, 40, 60), (0, 0, 0, 10), (3, 9, 20, 100), (0, 18, 0, 190), (19, 19, 180, 200)],
)
def test_an_entry_that_is_damaged_costs_the_bytes_around_it_alone(
    monkeypatch: pytest.MonkeyPatch, first: int, last: int, begin: int, end: int
) -> None:
    """Whose the bytes before and behind it are cannot be known; all others are read."""
    disk = FakeDisk()
    log = many_runs(disk, monkeypatch, 20)
    damage(disk, first, last)
    around = [(0, begin, ""), (begin, end, "damaged"), (end, 200, "")]
    assert pieces(log) == [each for each in around if each[0] < each[1]]
    for offset in range(200):
        rest = [(max(offset, start), stop, why) for start, stop, why in around if stop > offset]
        assert pieces(log, offset) == [each for each in rest if each[0] < each[1]]


def test_a_time_is_found_behind_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next place whose time is known is given; where none is, the end."""
    disk = FakeDisk()
    log = many_runs(disk, monkeypatch, 20)
    damage(disk, 5, 7)
    times = {4: 30, 5: 40, 6: 80, 7: 80, 8: 80, 9: 80, 10: 90}
    found = {second: seek_time(log, second * 1_000_000_000) for second in times}
    assert found == times


async def test_what_a_segment_that_cannot_be_opened_had_is_told_as_a_gap() -> None:
    """Whether its bytes were early enough, or lines, is unknown: who asks begins before it."""
    disk = FakeDisk()
    log = made(disk, 8 * 16_384)
    disk.pipes[STDOUT_PIPE] += b"x" * 16_383 + b"\n" + b"y\n" * 10
    while disk.pipes[STDOUT_PIPE]:
        assert log.move(STDOUT_PIPE, 1)
    log.finish()
    loaded = OutputLog.load(DIRECTORY, disk=disk)
    del disk.files[f"{DIRECTORY}/{'0' * 20}.output"]
    assert seek_time(loaded, 1) == 0
    assert await seek_lines(loaded, 9) == 16_384 + 2
    assert await seek_lines(loaded, 1000) == 0
    assert pieces(loaded) == [(0, 16_384, "damaged"), (16_384, 16_404, "")]


async def test_a_character_is_finished_only_with_bytes_that_touch() -> None:
    """Behind a gap none goes on; of streams that take turns each has its own."""
    disk = FakeDisk()
    log = made(disk)
    for data, stream in ((b"\xe2\x82", 1), (b"\xc3", 2)):
        disk.pipes[STDOUT_PIPE if stream == 1 else STDERR_PIPE] += data
        assert log.move(STDOUT_PIPE if stream == 1 else STDERR_PIPE, 1 if stream == 1 else 2)
    assert await unfinished_characters(log, 3) == {1: b"\xe2\x82", 2: b"\xc3"}
    assert await unfinished_characters(log, 2) == {1: b"\xe2\x82"}
    leave_out(log, disk, 5)
    disk.pipes[STDERR_PIPE] += b"\xc3"
    assert log.move(STDERR_PIPE, 2)
    assert await unfinished_characters(log, 9) == {2: b"\xc3"}
    log.finish()


async def test_looking_for_places_lets_others_go_on() -> None:
    """Where a job writes byte by byte, 64 KiB are 65,536 runs: a second, for who does not stop."""
    disk = FakeDisk()
    log = made(disk)
    for number in range(2000):
        stream: StreamNumber = 1 if number % 2 else 2
        pipe = STDOUT_PIPE if stream == 1 else STDERR_PIPE
        disk.pipes[pipe] += b"x"
        assert log.move(pipe, stream)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        assert await unfinished_characters(log, 2000) == {}
        assert turns >= 2000 // 128
        turns = 0
        assert await seek_lines(log, 1) == 0
        assert turns >= 2000 // 128
        nursery.cancel_scope.cancel()
    log.finish()


def test_a_digest_of_a_log_that_was_cut_is_an_error() -> None:
    """Not a digest of less: its job's record would claim more than there is."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 100)
    log.finish()
    digest = log.digest()
    assert digest.size == 100
    del disk.files[f"{DIRECTORY}/{'0' * 20}.output"][50:]
    with pytest.raises(OSError, match="shorter than it was"):
        digest.sha256()
    assert disk.open_files == 0


@pytest.mark.parametrize("fault", [0, errno.ENOSPC])
@pytest.mark.parametrize("steps", range(5))
def test_a_kill_while_the_last_segment_goes_leaves_its_length(steps: int, fault: int) -> None:
    """What is dropped is a gap for the next server, too, unless the disk refused even a name."""
    disk = FakeDisk()
    log = made(disk)
    write(log, disk, 10)
    disk.faults.append(fault)
    disk.kill_after = steps
    with contextlib.suppress(Killed):
        log.drop_oldest()
    disk.kill_after = None
    disk.faults.clear()
    disk.die()
    following = OutputLog.resume(DIRECTORY, disk=disk)
    if fault and steps > 1:
        assert following.length == 0
        return
    assert following.length == 10
    assert following.gaps() in ((), (Gap(0, 10, "retention"),))
    following.finish()
