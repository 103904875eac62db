"""Disks that are full, and that are freed again."""

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import SERVER_UID
from this_run import new_directory

MIB = 2**20


@contextlib.contextmanager
def small_disk(size_bytes: int = 12 * MIB) -> Iterator[Path]:
    """A tmpfs that belongs to the server. Needs root."""
    directory = new_directory("disk")
    options = f"size={size_bytes},mode=700,uid={SERVER_UID},gid={SERVER_UID}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
        directory.rmdir()


@contextlib.contextmanager
def loop_disk(size_bytes: int = 64 * MIB, inodes: int = 2048) -> Iterator[Path]:
    """A real file system, ext4 in a file, that everybody may write in. Needs root.

    It reserves no blocks for root, so what is full is so for everybody.
    """
    image = new_directory("image")
    directory = new_directory("disk")
    with contextlib.ExitStack() as stack:
        stack.callback(directory.rmdir)
        stack.callback(shutil.rmtree, image)
        if shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists():
            pytest.skip("NOT RUN: no mkfs.ext4, or no loop devices")
        with (image / "ext4").open("wb") as file:
            file.truncate(size_bytes)
        make = ["mkfs.ext4", "-q", "-m", "0", "-N", str(inodes), str(image / "ext4")]
        subprocess.run(make, check=True)
        subprocess.run(["mount", "-o", "loop", str(image / "ext4"), directory], check=True)
        stack.callback(lambda: subprocess.run(["umount", directory], check=True))
        directory.chmod(0o1777)
        yield directory


def fill_bytes(disk: Path) -> Path:
    """A file that takes every block that is left."""
    path = disk / "bytes"
    step = 16 * MIB
    with path.open("wb") as file:
        size = 0
        while step >= 1024:
            try:
                os.posix_fallocate(file.fileno(), size, step)
                size += step
            except OSError:
                step //= 2
    return path


def fill_inodes(disk: Path) -> Path:
    """Empty files until no more can be made; the directory that they are in."""
    directory = disk / "inodes"
    directory.mkdir()
    with contextlib.suppress(OSError):
        for number in itertools.count():
            (directory / str(number)).touch()
    return directory


class Filler:
    """A file that takes all of a disk but so many bytes, until it is freed."""

    def __init__(self, disk: Path, left_bytes: int) -> None:
        self._path = disk / "filler"
        free = os.statvfs(disk)
        with self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left_bytes)

    def free(self) -> None:
        self._path.unlink()
