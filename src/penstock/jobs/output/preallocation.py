"""Blocks that a growing file has ahead of its end: for when everything else has filled the disk.

fallocate(2) with KEEP_SIZE gives them to the file and leaves its size as it is, so nobody who reads
or recovers it sees them. Where a file system writes in new places anyway (btrfs, zfs) or has
nothing of the kind, nothing is promised; penstockd says so at its start.
"""

import ctypes
import os
from typing import Final, Protocol

AHEAD_BYTES: Final = 8 * 1024 * 1024
# Nobody's reserve may be what fills the disk: so much is left to all.
LEAST_LEFT_BYTES: Final = 16 * 1024 * 1024
# Of a reserve that is there already, so much is found at a time, and less at its end.
_STEP_BYTES: Final = 256 * 1024
_LEAST_STEP_BYTES: Final = 4096

_KEEP_SIZE: Final = 1  # linux/falloc.h
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def allocate(fd: int, start: int, count: int) -> None:
    """Gives a file the blocks of [start, start + count), whatever its size. Raises OSError."""
    if _fallocate(fd, _KEEP_SIZE, start, count) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Blocks(Protocol):
    """What a reserve asks of a disk; jobs.disk.Disk has it."""

    def free_bytes(self, fd: int) -> int:
        """Bytes that are free to this user on the file's disk."""
        ...

    def allocate(self, fd: int, start: int, count: int) -> None:
        """Blocks for ``count`` bytes from ``start`` on; the file's size stays."""
        ...


class Reserve:
    """The blocks of one file that is appended to. ``ahead_bytes``: how many to keep ahead."""

    def __init__(self, disk: Blocks, ahead_bytes: int = AHEAD_BYTES) -> None:
        self._disk = disk
        self._ahead_bytes = ahead_bytes
        self._end = 0

    def left(self, size: int) -> int:
        """Bytes that can be appended to a file of this size without a further block."""
        return max(0, self._end - size)

    def refill(self, fd: int, size: int, free_bytes: int | None = None) -> None:
        """Once half of it is used up, and while there is room for more. No error: then there is
        less of it. ``free_bytes``: of the disk, if the caller knows."""
        if self._end - size >= self._ahead_bytes // 2:
            return
        try:
            if free_bytes is None:
                free_bytes = self._disk.free_bytes(fd)
            if free_bytes < LEAST_LEFT_BYTES + self._ahead_bytes:
                return
            self._disk.allocate(fd, size, self._ahead_bytes)
        except OSError:
            return
        self._end = size + self._ahead_bytes

    def forget(self) -> None:
        """It was given back."""
        self._end = 0

    def find(self, fd: int, size: int) -> None:
        """What an earlier life has left of it: on a full disk only blocks that are the file's
        already can be had again."""
        self._end = size
        step = _STEP_BYTES
        while self._end - size < self._ahead_bytes and step >= _LEAST_STEP_BYTES:
            try:
                self._disk.allocate(fd, self._end, step)
                self._end += step
            except OSError:
                step //= 2
