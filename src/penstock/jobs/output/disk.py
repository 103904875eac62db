"""The calls to the kernel of a job's output and input, for files and pipes.

It is a seam, so that a test can let any of them fail, or wait in virtual time.
"""

import array
import errno
import fcntl
import os
import select
import shutil
import termios
from collections.abc import Coroutine
from typing import Final, Protocol

import trio

from .preallocation import allocate

# sys/splice.h: do not wait for the pipe. The file's side waits no longer than a write does.
_SPLICE_F_NONBLOCK: Final = 2
_F_GETPIPE_SZ: Final = 1032


class Disk(Protocol):
    """Plain functions that wait only for the disk and raise OSError, and two that wait for a pipe.

    ``write``, ``splice``, ``discard``, ``fill`` and ``forward`` may take fewer bytes than asked.
    All pipes are non-blocking, so that no call stops the event loop.
    """

    def make_directory(self, path: str) -> None:
        """Makes a directory with mode 0700, so that only its owner can enter."""
        ...

    def names(self, path: str) -> list[str]:
        """The names in a directory; empty if it does not exist."""
        ...

    def open(self, path: str, *, create: bool = False) -> int:
        """Opens a file to read and write. With ``create`` it must not exist before."""
        ...

    def close(self, fd: int) -> None:
        """Closes a file's descriptor. Pipes need ``close_pipe``, because tasks may wait on them."""
        ...

    def size(self, path: str) -> int:
        """The file's size in bytes; 0 if it does not exist."""
        ...

    def free_bytes(self, fd: int) -> int:
        """Bytes that the file's disk has left for users without privilege."""
        ...

    def allocate(self, fd: int, start: int, count: int) -> None:
        """Gives a file blocks for these bytes; its size stays (see preallocation.py)."""
        ...

    def trim(self, fd: int, size: int) -> None:
        """Frees the blocks that a file of this size has beyond its end."""
        ...

    def read(self, fd: int, count: int, offset: int) -> bytes:
        """As pread(2): at most ``count`` bytes, fewer at the end."""
        ...

    def write(self, fd: int, data: bytes, offset: int) -> int:
        """As pwrite(2): how many bytes were written, perhaps fewer than all."""
        ...

    def waiting(self, pipe_fd: int) -> int | None:
        """How many bytes a pipe has; None at end of file."""
        ...

    def splice(self, pipe_fd: int, fd: int, count: int, offset: int) -> int:
        """Moves bytes from a pipe to a file; how many, 0 at end of file.

        Raises BlockingIOError if the pipe is empty now.
        """
        ...

    def discard(self, pipe_fd: int, count: int) -> int:
        """Takes bytes from a pipe and drops them; otherwise as ``splice``."""
        ...

    def capacity(self, pipe_fd: int) -> int:
        """How many bytes an empty pipe has room for."""
        ...

    def fill(self, pipe_fd: int, data: bytes) -> int:
        """Writes into a pipe; how many bytes. BlockingIOError if it is full, BrokenPipeError if no
        process has its other end."""
        ...

    def forward(self, pipe_fd: int, to_fd: int, count: int) -> int:
        """Moves bytes from pipe to pipe; how many. Errors as of ``splice`` and ``fill``."""
        ...

    async def wait_readable(self, pipe_fd: int) -> None:
        """Returns when a pipe may have bytes or be at its end.

        Raises trio.ClosedResourceError if another task calls close_pipe meanwhile.

        Cancellation: atomic; C9.
        """
        ...

    async def wait_writable(self, pipe_fd: int) -> None:
        """Returns when a pipe may have room, or no reader any more; otherwise as wait_readable.

        Cancellation: atomic; C19.
        """
        ...

    def close_pipe(self, pipe_fd: int) -> None:
        """Closes one end of a pipe, and wakes a task that waits on it."""
        ...

    def unlink(self, path: str) -> None:
        """Removes a file. It is no error if the file does not exist."""
        ...

    def remove_tree(self, path: str) -> None:
        """Removes a directory with all below it, as far as possible. Call it in a thread, because
        it is slow."""
        ...


class RealDisk:
    """The Disk that calls the kernel."""

    def make_directory(self, path: str) -> None:
        os.makedirs(path, mode=0o700)

    def names(self, path: str) -> list[str]:
        try:
            return os.listdir(path)
        except FileNotFoundError:
            return []

    def open(self, path: str, *, create: bool = False) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return os.open(path, flags, 0o600)

    def close(self, fd: int) -> None:
        os.close(fd)

    def size(self, path: str) -> int:
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return 0

    def free_bytes(self, fd: int) -> int:
        disk = os.fstatvfs(fd)
        return disk.f_bavail * disk.f_frsize

    def allocate(self, fd: int, start: int, count: int) -> None:
        allocate(fd, start, count)

    def trim(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def read(self, fd: int, count: int, offset: int) -> bytes:
        return os.pread(fd, count, offset)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def waiting(self, pipe_fd: int) -> int | None:
        count = array.array("i", [0])
        fcntl.ioctl(pipe_fd, termios.FIONREAD, count)
        if count[0]:
            return count[0]
        poll = select.poll()
        poll.register(pipe_fd, select.POLLIN)
        events = poll.poll(0)
        # Bytes that came meanwhile give POLLIN, so POLLHUP alone is the end.
        return None if events and events[0][1] == select.POLLHUP else 0

    def splice(self, pipe_fd: int, fd: int, count: int, offset: int) -> int:
        return os.splice(pipe_fd, fd, count, offset_dst=offset, flags=_SPLICE_F_NONBLOCK)

    def discard(self, pipe_fd: int, count: int) -> int:
        # Not by splice to /dev/null, because there may be no descriptor left to open it.
        poll = select.poll()
        poll.register(pipe_fd, select.POLLIN)
        if not poll.poll(0):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return len(os.read(pipe_fd, count))

    def capacity(self, pipe_fd: int) -> int:
        return fcntl.fcntl(pipe_fd, _F_GETPIPE_SZ)

    def fill(self, pipe_fd: int, data: bytes) -> int:
        return os.write(pipe_fd, data)

    def forward(self, pipe_fd: int, to_fd: int, count: int) -> int:
        return os.splice(pipe_fd, to_fd, count, flags=_SPLICE_F_NONBLOCK)

    # Trio's own coroutines without another around them, because each idle job waits in some.

    def wait_readable(self, pipe_fd: int) -> Coroutine[object, object, None]:
        return trio.lowlevel.wait_readable(pipe_fd)  # noqa: ASYNC105  # the caller awaits it

    def wait_writable(self, pipe_fd: int) -> Coroutine[object, object, None]:
        return trio.lowlevel.wait_writable(pipe_fd)  # noqa: ASYNC105

    def close_pipe(self, pipe_fd: int) -> None:
        trio.lowlevel.notify_closing(pipe_fd)
        os.close(pipe_fd)

    def unlink(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            return

    def remove_tree(self, path: str) -> None:
        shutil.rmtree(path, ignore_errors=True)
