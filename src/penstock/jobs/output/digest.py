"""The SHA-256 of the bytes that a log has."""

import errno
import hashlib
from typing import Final

from .disk import Disk

_HASH_BYTES: Final = 1024 * 1024


class Digest:
    """SHA-256 of all bytes that a log has, in order.

    It reads by descriptors of its own, because the log may drop its files meanwhile.
    """

    def __init__(self, disk: Disk, parts: list[tuple[str, int]]) -> None:
        self._disk = disk
        self._parts = parts
        # Read by the task that waits for the thread in ``sha256``.
        self.begun = False
        self.hashed_bytes = 0

    @property
    def size(self) -> int:
        """How many bytes ``sha256`` will read."""
        return sum(size for _, size in self._parts)

    def sha256(self) -> str:
        """The digest in hexadecimal. Raises OSError. Call it in a thread, because it reads every
        byte."""
        self.begun = True
        digest = hashlib.sha256()
        for path, size in self._parts:
            if not size:
                continue
            fd = self._disk.open(path)
            try:
                offset = 0
                while offset < size:
                    data = self._disk.read(fd, min(_HASH_BYTES, size - offset), offset)
                    if not data:
                        raise OSError(errno.EIO, "the log is shorter than it was", path)
                    digest.update(data)
                    offset += len(data)
                    self.hashed_bytes += len(data)
            finally:
                self._disk.close(fd)
        return digest.hexdigest()
