"""A file that an operator has named, read whole: bounded in length, and never a wait for a peer.

What stands where a file is expected may be a FIFO without a writer, a device, or a file without
end, by mistake or because another user can replace it. A process that opens and reads such a thing
the usual way stands still, and because supervisor and server have one loop each, so does everything
that they serve.
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
    """The file is there, but is not read. ``strerror`` says why and what to do."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(errno.EINVAL, why, path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def read_file(path: str, most_bytes: int) -> bytes:
    """The file's bytes. Waits for nothing but the disk.

    Symbolic links are followed, because programs that renew certificates put them there. Raises
    OSError with the path; FileRefused is one.
    """
    # O_PATH opens only the name, because some devices do something when they are opened, and a FIFO
    # waits. What is opened after the look is then what was looked at, wherever the path leads by
    # that time.
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(found)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is not None:
            raise FileRefused(path, f"is {kind}; name a regular file")
        if status.st_size > most_bytes:
            raise _too_long(path, most_bytes)
        # Without blocking, because open(2) waits for the holder of a lease on the file (fcntl(2)).
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
    # To its end and not by its size, because it may grow, and files of /proc claim to be empty.
    data = b""
    while piece := os.read(fd, _PIECE_BYTES):
        data += piece
        if len(data) > most_bytes:
            raise _too_long(path, most_bytes)
    return data


def _too_long(path: str, most_bytes: int) -> FileRefused:
    return FileRefused(
        path, f"is longer than {most_bytes} bytes, too long for its kind; name the right file"
    )
