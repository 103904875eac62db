"""What a job's output and input ask of the kernel, files and pipes: a seam, so that a test can
let any of it fail, or wait in virtual time."""

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

# sys/splice.h: do not wait for the pipe. The file side never waits longer than a write.
_SPLICE_F_NONBLOCK: Final = 2
_F_GETPIPE_SZ: Final = 1032


class Disk(Protocol):
    """Plain functions that wait for nothing but the disk, and raise OSError; and two that wait
    for a pipe.

    ``write``, ``splice``, ``discard``, ``fill`` and ``forward`` may take less than they were
    asked to. The pipes block nobody.
    """

    def make_directory(self, path: str) -> None:
        """A new one, for its owner alone."""
        ...

    def names(self, path: str) -> list[str]:
        """What is in a directory; nothing if it is not there."""
        ...

    def open(self, path: str, *, create: bool = False) -> int:
        """For reading and writing; ``create``: it must not be there."""
        ...

    def close(self, fd: int) -> None:
        """Gives a descriptor back."""
        ...

    def size(self, path: str) -> int:
        """Bytes; 0 if it is not there."""
        ...

    def free_bytes(self, fd: int) -> int:
        """What the file's disk has left for users without privilege."""
        ...

    def allocate(self, fd: int, start: int, count: int) -> None:
        """Blocks for these bytes of a file, which keeps its size: see preallocation.py."""
        ...

    def trim(self, fd: int, size: int) -> None:
        """Gives back what a file of this size has beyond its end."""
        ...

    def read(self, fd: int, count: int, offset: int) -> bytes:
        """As pread(2): at most ``count`` bytes, fewer at the end."""
        ...

    def write(self, fd: int, data: bytes, offset: int) -> int:
        """As pwrite(2): how many bytes were written, perhaps fewer than all."""
        ...

    def waiting(self, pipe_fd: int) -> int | None:
        """Bytes in a pipe; None: at its end."""
        ...

    def splice(self, pipe_fd: int, fd: int, count: int, offset: int) -> int:
        """Pipe to file. 0 at end of file; BlockingIOError if the pipe is empty now."""
        ...

    def discard(self, pipe_fd: int, count: int) -> int:
        """Pipe to nowhere; otherwise as splice."""
        ...

    def capacity(self, pipe_fd: int) -> int:
        """How many bytes a pipe has room for when it is empty."""
        ...

    def fill(self, pipe_fd: int, data: bytes) -> int:
        """Into a pipe. BlockingIOError if it is full, BrokenPipeError if nobody can read it."""
        ...

    def forward(self, pipe_fd: int, to_fd: int, count: int) -> int:
        """From pipe to pipe; errors as of splice and of fill."""
        ...

    async def wait_readable(self, pipe_fd: int) -> None:
        """Returns when a pipe may have bytes or an end.

        Raises trio.ClosedResourceError if close_pipe closes it meanwhile.

        Cancellation: atomic; C9.
        """
        ...

    async def wait_writable(self, pipe_fd: int) -> None:
        """Returns when a pipe may have room, or nobody to read it. Otherwise as above.

        Cancellation: atomic; C19.
        """
        ...

    def close_pipe(self, pipe_fd: int) -> None:
        """One end of a pipe, which a task may be waiting on."""
        ...

    def unlink(self, path: str) -> None:
        """It is no error if it is not there."""
        ...

    def remove_tree(self, path: str) -> None:
        """Everything below, as far as it can be removed. Slow: call it in a thread."""
        ...


class RealDisk:
    """The kernel's."""

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
        # Bytes that have come meanwhile are POLLIN; an end without any is POLLHUP alone.
        return None if events and events[0][1] == select.POLLHUP else 0

    def splice(self, pipe_fd: int, fd: int, count: int, offset: int) -> int:
        return os.splice(pipe_fd, fd, count, offset_dst=offset, flags=_SPLICE_F_NONBLOCK)

    def discard(self, pipe_fd: int, count: int) -> int:
        # Not by splice to /dev/null: its descriptor might be the one too many.
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

    # Trio's own coroutines, not another around them: each idle job waits in some.

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
