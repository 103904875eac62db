"""Blocks that a growing file has ahead of its end, in case other files fill the disk.

fallocate(2) with KEEP_SIZE gives them to the file and leaves its size as it is, so that readers and
recovery do not see them. A file system that writes in new places anyway (btrfs, zfs), or has no
such call, gives no guarantee; penstockd reports that at its start.
"""

import ctypes
import os
from typing import Final, Protocol

AHEAD_BYTES: Final = 8 * 1024 * 1024
# So much is left to all, so that reserves themselves do not fill the disk.
LEAST_LEFT_BYTES: Final = 16 * 1024 * 1024
# An existing reserve is found in steps of so many bytes, and of fewer at its end.
_STEP_BYTES: Final = 256 * 1024
_LEAST_STEP_BYTES: Final = 4096

_KEEP_SIZE: Final = 1  # linux/falloc.h
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def allocate(fd: int, start: int, count: int) -> None:
    """Gives a file the blocks of [start, start + count); its size stays. Raises OSError."""
    if _fallocate(fd, _KEEP_SIZE, start, count) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Blocks(Protocol):
    """The calls of Disk (disk.py) that a reserve needs."""

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
        """Fills the reserve up again, once half of it is used and if the disk has room.

        Raises nothing: on an error the reserve stays smaller. ``free_bytes`` is the disk's free
        space, if the caller knows it.
        """
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
        """Forgets the reserve, because its blocks were given back to the disk."""
        self._end = 0

    def find(self, fd: int, size: int) -> None:
        """Finds the reserve that an earlier server has left. It allocates the same blocks again,
        because on a full disk only those that the file has already can be had."""
        self._end = size
        step = _STEP_BYTES
        while self._end - size < self._ahead_bytes and step >= _LEAST_STEP_BYTES:
            try:
                self._disk.allocate(fd, self._end, step)
                self._end += step
            except OSError:
                step //= 2
