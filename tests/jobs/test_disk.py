"""The disk in memory behaves as the real one, where the log depends on it."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_disk import STDOUT_PIPE, FakeDisk

from penstock.jobs.disk import Disk, RealDisk


@dataclass
class Place:
    """A disk, a directory on it, and a pipe."""

    disk: Disk
    directory: str
    pipe_fd: int
    write_fd: int  # -1: of the fake

    def feed(self, data: bytes) -> None:
        if isinstance(self.disk, FakeDisk):
            self.disk.pipes[self.pipe_fd] += data
        else:
            assert os.write(self.write_fd, data) == len(data)

    def end(self) -> None:
        if isinstance(self.disk, FakeDisk):
            self.disk.ended = True
        else:
            os.close(self.write_fd)
            self.write_fd = -1


@pytest.fixture(params=["real", "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "fake":
        yield Place(FakeDisk(), "/somewhere/new", STDOUT_PIPE, -1)
        return
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    made = Place(RealDisk(), str(tmp_path / "somewhere" / "new"), read_fd, write_fd)
    yield made
    os.close(read_fd)
    if made.write_fd >= 0:
        os.close(made.write_fd)


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


def test_an_empty_pipe_and_an_ended_one(place: Place) -> None:
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
