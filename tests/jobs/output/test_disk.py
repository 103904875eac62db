"""The disk in memory behaves as the real one, where the log depends on it."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing
from fake_disk import FakeDisk

from penstock.jobs.output.disk import Disk, RealDisk


@dataclass
class Place:
    """A disk, a directory on it, and a pipe."""

    disk: Disk
    directory: str
    pipe_fd: int
    write_fd: int

    def feed(self, data: bytes) -> None:
        assert self.disk.fill(self.write_fd, data) == len(data)

    def end(self) -> None:
        self.disk.close_pipe(self.write_fd)
        self.write_fd = -1

    def stop_reading(self) -> None:
        self.disk.close_pipe(self.pipe_fd)
        self.pipe_fd = -1

    def another_pipe(self) -> tuple[int, int]:
        """Its ends are the test's to close."""
        if isinstance(self.disk, FakeDisk):
            return self.disk.make_pipe()
        return os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)


@pytest.fixture(params=["real", "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "fake":
        disk = FakeDisk()
        yield Place(disk, "/somewhere/new", *disk.make_pipe())
        return
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    made = Place(RealDisk(), str(tmp_path / "somewhere" / "new"), read_fd, write_fd)
    yield made
    for fd in (made.pipe_fd, made.write_fd):
        if fd >= 0:
            os.close(fd)


def test_bytes_go_from_pipe_to_file_and_back(place: Place) -> None:
    """At the offset, as many as asked for at most, in order."""
    disk = place.disk
    disk.make_directory(place.directory)
    path = os.path.join(place.directory, "file")
    fd = disk.open(path, create=True)
    place.feed(b"hello world")
    assert disk.splice(place.pipe_fd, fd, 5, 0) == 5
    assert disk.splice(place.pipe_fd, fd, 100, 5) == 6
    assert (disk.size(path), disk.read(fd, 100, 6)) == (11, b"world")
    assert disk.write(fd, b"H", 0) == 1
    disk.close(fd)
    fd = disk.open(path)
    assert disk.read(fd, 5, 0) == b"Hello"
    assert disk.read(fd, 5, 11) == b""
    assert disk.free_bytes(fd) > 0
    disk.close(fd)


async def test_an_empty_pipe_and_an_ended_one(place: Place) -> None:
    """BlockingIOError, then 0: to a file and to nowhere alike."""
    disk = place.disk
    disk.make_directory(place.directory)
    fd = disk.open(os.path.join(place.directory, "file"), create=True)
    with pytest.raises(BlockingIOError):
        disk.splice(place.pipe_fd, fd, 10, 0)
    with pytest.raises(BlockingIOError):
        disk.discard(place.pipe_fd, 10)
    place.feed(b"abc")
    assert disk.discard(place.pipe_fd, 2) == 2
    place.end()
    assert disk.splice(place.pipe_fd, fd, 10, 0) == 1
    assert disk.splice(place.pipe_fd, fd, 10, 1) == 0
    assert disk.discard(place.pipe_fd, 10) == 0
    disk.close(fd)


def test_names_and_what_is_not_there(place: Place) -> None:
    """Created once, listed, removed; what is missing is an error of open alone."""
    disk = place.disk
    path = os.path.join(place.directory, "file")
    assert disk.names(place.directory) == []
    assert disk.size(path) == 0
    disk.make_directory(place.directory)
    disk.close(disk.open(path, create=True))
    with pytest.raises(FileExistsError):
        disk.open(path, create=True)
    assert disk.names(place.directory) == ["file"]
    disk.unlink(path)
    disk.unlink(path)
    with pytest.raises(FileNotFoundError) as caught:
        disk.open(path)
    assert caught.value.errno == errno.ENOENT
    disk.close(disk.open(path, create=True))
    disk.remove_tree(place.directory)
    assert disk.names(place.directory) == []


async def test_a_pipe_that_is_full_and_one_that_nobody_reads(place: Place) -> None:
    """As much as there is room for, then BlockingIOError; without a reader BrokenPipeError."""
    disk = place.disk
    capacity = disk.capacity(place.pipe_fd)
    assert disk.waiting(place.pipe_fd) == 0
    assert disk.fill(place.write_fd, bytes(capacity + 10)) == capacity
    assert disk.waiting(place.pipe_fd) == capacity
    with pytest.raises(BlockingIOError):
        disk.fill(place.write_fd, b"x")
    place.stop_reading()
    with pytest.raises(BrokenPipeError):
        disk.fill(place.write_fd, b"x")


async def test_bytes_go_from_pipe_to_pipe(place: Place) -> None:
    """In order and once; what does not fit stays where it was."""
    disk = place.disk
    read_fd, write_fd = place.another_pipe()
    with pytest.raises(BlockingIOError):
        disk.forward(place.pipe_fd, write_fd, 10)
    place.feed(b"hello world")
    assert disk.forward(place.pipe_fd, write_fd, 5) == 5
    assert (disk.waiting(place.pipe_fd), disk.waiting(read_fd)) == (6, 5)
    assert disk.discard(read_fd, 10) == 5
    assert disk.fill(write_fd, bytes(disk.capacity(read_fd))) == disk.capacity(read_fd)
    with pytest.raises(BlockingIOError):
        disk.forward(place.pipe_fd, write_fd, 10)
    assert disk.waiting(place.pipe_fd) == 6
    disk.close_pipe(read_fd)
    with pytest.raises(BrokenPipeError):
        disk.forward(place.pipe_fd, write_fd, 10)
    disk.close_pipe(write_fd)


async def test_waiting_for_bytes_for_an_end_and_for_room(place: Place) -> None:
    """Not before there is any; a wait is over at once if there is."""
    disk = place.disk
    done: list[str] = []

    async def readable() -> None:
        await disk.wait_readable(place.pipe_fd)
        done.append("readable")

    async def writable() -> None:
        await disk.wait_writable(place.write_fd)
        done.append("writable")

    happenings: list[Callable[[], None]] = [lambda: place.feed(b"abc"), place.end]
    for happens in happenings:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(readable)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert done == []
            happens()
        assert done == ["readable"]
        await readable()
        done.clear()
        assert disk.discard(place.pipe_fd, 10) == (3 if place.write_fd >= 0 else 0)
        if place.write_fd >= 0:
            await writable()
            done.clear()
            place.feed(bytes(disk.capacity(place.pipe_fd)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writable)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert done == []
                disk.discard(place.pipe_fd, disk.capacity(place.pipe_fd))
            done.clear()


async def test_a_pipe_that_is_closed_while_it_is_waited_for(place: Place) -> None:
    """The wait ends, and says so; the number may be another pipe's at once."""
    disk = place.disk

    async def waiting() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await disk.wait_readable(place.pipe_fd)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting)
        await trio.testing.wait_all_tasks_blocked(0.01)
        place.stop_reading()


def test_blocks_ahead_change_nothing_of_a_file(place: Place) -> None:
    """Neither its size nor what is in it; what is given back neither."""
    disk = place.disk
    if isinstance(disk, FakeDisk):
        disk.allocates = True
    disk.make_directory(place.directory)
    path = f"{place.directory}/file"
    fd = disk.open(path, create=True)
    disk.write(fd, b"kept", 0)
    disk.allocate(fd, 4, 1 << 16)
    assert (disk.size(path), disk.read(fd, 100, 0)) == (4, b"kept")
    place.feed(b"more")
    assert disk.splice(place.pipe_fd, fd, 100, 4) == 4
    disk.trim(fd, 8)
    assert (disk.size(path), disk.read(fd, 100, 0)) == (8, b"keptmore")
    disk.close(fd)
