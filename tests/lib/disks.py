"""Disks that are full, and that are freed again."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

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


class Filler:
    """A file that takes all of a disk but so many bytes, until it is freed."""

    def __init__(self, disk: Path, left_bytes: int) -> None:
        self._path = disk / "filler"
        free = os.statvfs(disk)
        with self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left_bytes)

    def free(self) -> None:
        self._path.unlink()
