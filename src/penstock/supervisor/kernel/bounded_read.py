"""A file that an operator has named, read whole: never more of it than is bearable, and never a
wait for somebody else.

What stands where a file is expected may be a FIFO that nobody writes to, a device, or a file
without end, by mistake or because somebody can replace it. Whoever opens and reads such a thing the
usual way stands still, and with one loop for everybody so does everything else.
"""

import errno
import os
import stat
from typing import Final

_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_PIECE_BYTES: Final = 1 << 18


class FileRefused(OSError):
    """It is there, and is not read. ``strerror`` says why and what to do, ``filename`` which."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(errno.EINVAL, why, path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def read_file(path: str, most_bytes: int) -> bytes:
    """Raises OSError with the path; FileRefused is one. Symbolic links are followed, as those who
    renew certificates by themselves put them there. Waits for nothing but the disk.
    """
    # A path alone opens nothing: some devices do something when they are opened, and a FIFO waits.
    # What is opened then is what was looked at, whatever the path leads to by now.
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(found)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is not None:
            raise FileRefused(path, f"is {kind}; name a regular file")
        if status.st_size > most_bytes:
            raise _too_long(path, most_bytes)
        # Not blocking: a file may have a lease (fcntl(2)), whose holder is waited for.
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileRefused:
        raise
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(found)
    try:
        return _read(fd, path, most_bytes)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


def _read(fd: int, path: str, most_bytes: int) -> bytes:
    # Not by its size: it may grow, and files of /proc say that they are empty.
    data = b""
    while piece := os.read(fd, _PIECE_BYTES):
        data += piece
        if len(data) > most_bytes:
            raise _too_long(path, most_bytes)
    return data


def _too_long(path: str, most_bytes: int) -> FileRefused:
    return FileRefused(path, f"is longer than {most_bytes} bytes, which is too much for its kind")
