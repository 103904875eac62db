"""Blocks that files have ahead: records, audit and output go on for a while on a full disk."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from database_copy import opened_copy
from disks import MIB, fill_bytes, fill_inodes, loop_disk
from fake_disk import STDOUT_PIPE, FakeDisk

from penstock.jobs.backends.base import JobSpec
from penstock.jobs.output.disk import RealDisk
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.preallocation import AHEAD_BYTES, LEAST_LEFT_BYTES, Reserve
from penstock.jobs.output.segment_chain import RESERVE_BYTES, SPLICE_BYTES
from penstock.jobs.salvage import open_store
from penstock.jobs.store import Store
from penstock.server.audit import AuditError, AuditLog

LOG = "/log"


@pytest.fixture(autouse=True)
def few_free_pages() -> None:
    """None is taken away here."""


@pytest.fixture
def disk() -> Iterator[Path]:
    with loop_disk(128 * MIB) as disk:
        yield disk


def fill(disk: Path, what: str) -> None:
    """Nothing more fits: neither a byte nor, where that is asked, a name."""
    (disk / "bytes").touch()
    if "inodes" in what:
        fill_inodes(disk)
    if "bytes" in what:
        fill_bytes(disk)
    with pytest.raises(OSError, match="No space left"):
        (disk / "anything").write_bytes(bytes(1 << 16))


# The log, on a disk in memory.


def fed(disk: FakeDisk, log: OutputLog, count: int) -> int:
    """Feeds the job's stdout; how many bytes of it the log takes before the disk refuses."""
    pipe = disk.pipes[STDOUT_PIPE]
    taken = 0
    while taken < count:
        pipe += bytes(min(SPLICE_BYTES, count - taken))
        while pipe:
            try:
                taken += log.move(STDOUT_PIPE, 1)
            except OSError:
                pipe.clear()
                return taken
    return taken


def allocating_disk() -> FakeDisk:
    disk = FakeDisk()
    disk.allocates = True
    disk.capacity_bytes = 1 << 30
    return disk


def test_a_log_goes_on_in_its_own_blocks_and_no_further() -> None:
    """Somebody fills the disk: what is the log's already is used up, and not a block more."""
    disk = allocating_disk()
    log = OutputLog.create(LOG, disk=disk)
    assert fed(disk, log, 1000) == 1000
    disk.capacity_bytes = disk.used_bytes  # not even what every log leaves free
    taken = fed(disk, log, 2 * AHEAD_BYTES)
    assert AHEAD_BYTES // 2 <= taken <= AHEAD_BYTES
    assert disk.used_bytes == disk.capacity_bytes
    log.seal()
    log.finish()
    assert (log.length, log.gaps()) == (1000 + taken, ())


def test_a_reserve_is_refilled_when_there_is_room_again() -> None:
    """As long as that leaves something for all."""
    disk = allocating_disk()
    log = OutputLog.create(LOG, disk=disk)
    disk.capacity_bytes = disk.used_bytes
    first = fed(disk, log, 2 * AHEAD_BYTES)
    disk.capacity_bytes += LEAST_LEFT_BYTES + AHEAD_BYTES + RESERVE_BYTES
    assert fed(disk, log, 1) == 1
    disk.capacity_bytes = disk.used_bytes
    assert fed(disk, log, 2 * AHEAD_BYTES) >= AHEAD_BYTES // 2
    log.finish()
    assert log.length > first + AHEAD_BYTES // 2


def test_a_reserve_is_not_what_fills_the_disk() -> None:
    """Where it would leave too little for others there is none."""
    disk = allocating_disk()
    disk.capacity_bytes = LEAST_LEFT_BYTES
    log = OutputLog.create(LOG, disk=disk)
    assert (disk.ahead, disk.used_bytes) == ({}, 0)
    log.finish()


def test_a_log_that_has_ended_keeps_no_blocks() -> None:
    """Nor does a segment that is full, or one that a crash has left."""
    disk = allocating_disk()
    log = OutputLog.create(LOG, disk=disk, limit_bytes=4 * MIB)
    assert fed(disk, log, 3 * MIB) == 3 * MIB
    assert len(log.segments()) > 1
    ahead = [path for path in disk.ahead if path.endswith(".output")]
    assert [os.path.basename(path)[:20] for path in ahead] == [f"{log.segments()[-1].start:020}"]
    assert log.seal()
    log.finish()
    assert log.has_reserve
    log.free_reserve()
    assert disk.ahead == {}
    lost = OutputLog.create("/lost", disk=disk)
    assert fed(disk, lost, 1000) == 1000
    disk.die()
    assert disk.ahead
    assert OutputLog.load("/lost", disk=disk).close_recovered()
    assert disk.ahead == {}


def test_a_small_log_has_a_small_reserve() -> None:
    """No more ahead than it may keep at all."""
    disk = allocating_disk()
    log = OutputLog.create(LOG, disk=disk, limit_bytes=128 * 1024)
    assert sum(disk.ahead.values()) <= 256 * 1024
    log.finish()


def test_the_next_server_finds_the_reserve_of_the_one_before() -> None:
    """Killed on a full disk: the log goes on in the blocks that are its own."""
    disk = allocating_disk()
    log = OutputLog.create(LOG, disk=disk)
    assert fed(disk, log, 1000) == 1000
    disk.capacity_bytes = disk.used_bytes
    disk.die()
    log = OutputLog.resume(LOG, disk=disk)
    assert log.length == 1000
    assert fed(disk, log, 2 * AHEAD_BYTES) >= AHEAD_BYTES // 2
    assert disk.used_bytes == disk.capacity_bytes
    log.seal()
    log.finish()


@pytest.mark.parametrize("killed", [False, True])
def test_a_segment_grows_beyond_its_size_where_no_other_can_be_made(killed: bool) -> None:
    """No name is to be had: the log goes on where it has blocks, whole for who reads it later."""
    disk = allocating_disk()
    log = OutputLog.create(LOG, disk=disk, limit_bytes=8 * MIB)
    assert fed(disk, log, MIB - 100) == MIB - 100
    disk.no_names = True
    disk.capacity_bytes = disk.used_bytes
    taken = fed(disk, log, 3 * MIB)
    assert taken == 3 * MIB
    assert len(log.segments()) == 1
    length = log.length
    if killed:
        disk.die()
        log = OutputLog.resume(LOG, disk=disk)
    else:
        log.seal()
        log.finish()
        log = OutputLog.load(LOG, disk=disk, length=length)
    assert (log.length, log.gaps()) == (length, ())
    segment = log.segments()[0]
    segment.acquire()
    assert segment.locate(length - 1, 0).stream == 1
    segment.release()


def test_behind_a_gap_a_segment_that_has_blocks_takes_no_byte() -> None:
    """Its bytes are those up to the gap; what came into it now would have an earlier offset."""
    disk = allocating_disk()
    log = OutputLog.create(LOG, disk=disk, limit_bytes=8 * MIB)
    assert fed(disk, log, 1000) == 1000
    disk.pipes[STDOUT_PIPE] += bytes(100)
    assert log.discard(STDOUT_PIPE, "quota") == 100
    disk.no_names = True
    disk.pipes[STDOUT_PIPE] += b"behind"
    with pytest.raises(OSError, match="No space left"):
        log.move(STDOUT_PIPE, 1)
    assert (log.length, bytes(disk.pipes[STDOUT_PIPE])) == (1100, b"behind")
    disk.no_names = False
    assert log.move(STDOUT_PIPE, 1) == 6
    log.finish()
    assert [(gap.start, gap.end) for gap in log.gaps()] == [(1000, 1100)]
    assert [(each.start, each.end) for each in log.segments()] == [(0, 1000), (1100, 1106)]


# On a real one.


@pytest.mark.root
def test_what_a_file_has_ahead_is_taken_by_nobody(disk: Path) -> None:
    """The kernel keeps it, and its size says nothing of it."""
    path = disk / "file"
    real = RealDisk()
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    reserve = Reserve(real)
    reserve.refill(fd, 0)
    assert reserve.left(0) == AHEAD_BYTES
    assert path.stat().st_size == 0
    fill(disk, "bytes")
    assert os.write(fd, bytes(AHEAD_BYTES)) == AHEAD_BYTES
    with pytest.raises(OSError, match="No space left"):
        os.write(fd, bytes(1 << 16))
    again = Reserve(real)
    again.find(fd, 0)
    assert again.left(0) == AHEAD_BYTES
    os.close(fd)


@pytest.mark.root
def test_trimming_gives_it_back(disk: Path) -> None:
    """And changes nothing of what is in the file."""
    path = disk / "file"
    path.write_bytes(b"kept")
    real = RealDisk()
    fd = real.open(str(path))
    Reserve(real).refill(fd, 4)
    assert path.stat().st_blocks * 512 >= AHEAD_BYTES
    real.trim(fd, 4)
    os.close(fd)
    assert path.read_bytes() == b"kept"
    assert path.stat().st_blocks * 512 < MIB


def insert(store: Store, numbers: range) -> None:
    for number in numbers:
        store.insert_starting(f"{number:032x}", "alice", JobSpec("ls"), "hash", 0, None)


@pytest.mark.root
@pytest.mark.parametrize("what", ["bytes", "inodes and bytes"])
@pytest.mark.parametrize("how", ["killed", "closed"])
def test_records_go_on_when_the_disk_is_full(disk: Path, how: str, what: str) -> None:
    """By who had it open, and by the next one, whether that was killed or has closed it."""
    path = str(disk / "db")
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            store, _ = open_store(path)
            insert(store, range(10))
            if how == "closed":
                store.close()
            else:
                fill(disk, what)
                insert(store, range(10, 200))
            os.write(write_fd, b"x")
        finally:
            os._exit(0)  # as a kill: SQLite closes nothing
    os.close(write_fd)
    os.waitpid(pid, 0)
    assert os.read(read_fd, 1) == b"x"
    os.close(read_fd)
    if how == "closed":
        fill(disk, what)
    store, complaints = open_store(path)
    before = 10 if how == "closed" else 200
    assert (complaints, len(list(store.load()))) == ([], before)
    insert(store, range(1000, 2000))
    assert len(list(store.load())) == before + 1000
    store.close()


def free_pages(path: Path) -> int:
    with opened_copy(path) as db:
        return int(db.execute("PRAGMA freelist_count").fetchone()[0])


@pytest.mark.slow
def test_free_pages_are_made_again_as_they_are_used_up(tmp_path: Path) -> None:
    """While it runs, a row at a time; and what that has made is free, not data."""
    path = tmp_path / "db"
    store, _ = open_store(str(path))
    full = free_pages(path)
    assert full * 4096 >= AHEAD_BYTES
    spec = JobSpec("ls", ("x" * 50_000,))
    number = 0
    while free_pages(path) * 4096 >= AHEAD_BYTES // 4:
        store.insert_starting(f"{number:032x}", "alice", spec, "hash", 0, None)
        number += 1
    for number in range(10_000, 10_000 + 32 * 20):
        store.insert_starting(f"{number:032x}", "alice", JobSpec("ls"), "hash", 0, None)
    assert free_pages(path) * 4096 >= AHEAD_BYTES // 2
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM ahead").fetchone() == (0,)


def test_rows_that_a_kill_has_left_are_free_pages_at_the_next_start(tmp_path: Path) -> None:
    """They are nobody's data."""
    path = tmp_path / "db"
    open_store(str(path))[0].close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("INSERT INTO ahead VALUES (zeroblob(1000000))")
    store, _ = open_store(str(path))
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM ahead").fetchone() == (0,)


@pytest.mark.root
def test_a_damaged_database_is_told_from_one_that_has_no_room(disk: Path) -> None:
    """A full disk is no reason to put the records aside."""
    path = disk / "db"
    Store(str(path)).close()  # without a reserve
    fill(disk, "inodes and bytes")
    with contextlib.suppress(sqlite3.OperationalError):
        store, complaints = open_store(str(path))
        store.close()
        assert complaints == []
    assert not list(disk.glob("db.damaged*"))


@pytest.mark.root
def test_audit_lines_go_on_when_the_disk_is_full(disk: Path) -> None:
    """For its reserve; the next server's, too. Then it says that it cannot."""
    path = disk / "audit"
    log = AuditLog(str(path))
    log.write("first")
    fill(disk, "inodes and bytes")
    log.close()
    log = AuditLog(str(path))
    written = 0
    with contextlib.suppress(AuditError):
        while True:
            log.write("more", text="x" * 1000)
            written += 1
    log.close()
    assert written * 1000 > AHEAD_BYTES // 2
    lines = path.read_bytes().splitlines()[: written + 1]
    assert [json.loads(line)["event"] for line in lines] == ["first", *["more"] * written]


@pytest.mark.root
def test_an_audit_log_that_was_moved_away_keeps_no_blocks(disk: Path) -> None:
    """Rotation: the new one has them."""
    path = disk / "audit"
    log = AuditLog(str(path))
    log.write("first")
    assert path.stat().st_blocks * 512 >= AHEAD_BYTES
    path.rename(disk / "audit.1")
    log.reopen()
    log.reopen()  # again, and nothing was moved
    log.write("second")
    log.close()
    assert (disk / "audit.1").stat().st_blocks * 512 < MIB
    assert path.stat().st_blocks * 512 >= AHEAD_BYTES
    assert [json.loads(text)["event"] for text in path.read_text().splitlines()] == ["second"]


def test_no_file_of_the_records_is_mapped(tmp_path: Path) -> None:
    """Where no block is left for a page of a mapped file, SIGBUS ends the process."""
    path = tmp_path / "db"
    store, _ = open_store(str(path))
    insert(store, range(100))
    assert str(path) not in Path("/proc/self/maps").read_text()
    assert not Path(f"{path}-shm").exists()
    store.close()
