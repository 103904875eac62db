"""A Disk in memory that fills, fails, writes short and dies, with pipes that remember.

It is held to tests/jobs/output/test_disk.py, the same suite as the real one.
"""

import errno
import os
from collections import deque

from fake_pipes import FakePipe, FakePipes

STDOUT_PIPE, STDERR_PIPE = 1001, 1002


class Killed(BaseException):
    """The process is gone, in the middle of whatever it did. What is on the disk stays."""


class FakeDisk(FakePipes):
    """``produced`` has every byte that left a pipe, in order, and ``owners`` its stream."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.directories: set[str] = set()
        super().__init__()
        self.pipes |= {STDOUT_PIPE: FakePipe(), STDERR_PIPE: FakePipe()}
        self.produced = bytearray()
        self.owners = bytearray()
        self.capacity_bytes = 1 << 40
        self.faults: deque[int] = deque()
        """Of the next operations that change something: 0 works, else an errno."""
        self.refused: dict[str, int] = {}
        """Files that were kept from a change, and how much was produced by then."""
        self.not_made: set[str] = set()
        """Files of those that were to be made then."""
        self.kept_end = 0
        """How much was produced when bytes went into a file the last time."""
        self.short = False
        """The next splice takes a part of what it could."""
        self.kill_after: int | None = None
        """So many changing operations from now the process is killed, before that one."""
        self.allocates = False
        """Blocks can be kept ahead; else it is as a file system that has nothing of the kind."""
        self.ahead: dict[str, int] = {}
        """What files have had allocated: up to which offset."""
        self.no_names = False
        """No file can be made: it has no inodes left."""
        self._open: dict[int, str] = {}
        self._next_fd = 5000

    def end(self) -> None:
        """Nobody writes into the pipes any more."""
        for pipe in self.pipes.values():
            while pipe.writers:
                pipe.close(write=True)

    @property
    def ended(self) -> bool:
        return all(pipe.ended for pipe in self.pipes.values())

    @property
    def open_files(self) -> int:
        return len(self._open)

    @property
    def used_bytes(self) -> int:
        return sum(max(len(data), self.ahead.get(path, 0)) for path, data in self.files.items())

    def die(self) -> None:
        """All descriptors of the process are closed."""
        self._open.clear()

    def _change(self, path: str, *, create: bool = False) -> None:
        if self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after < 0:
                self.kill_after = None
                raise Killed
        code = self.faults.popleft() if self.faults else 0
        if create and self.no_names:
            code = code or errno.ENOSPC
        if code:
            self.refused[path] = len(self.produced)
            if create:
                self.not_made.add(path)
            raise OSError(code, os.strerror(code), path)

    def _missing(self, path: str) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    # Disk.

    def make_directory(self, path: str) -> None:
        self._change(path)
        self.directories.add(path)

    def names(self, path: str) -> list[str]:
        return [os.path.basename(name) for name in self.files if os.path.dirname(name) == path]

    def open(self, path: str, *, create: bool = False) -> int:
        if create:
            self._change(path, create=True)
            if path in self.files:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            self.files[path] = bytearray()
        elif path not in self.files:
            raise self._missing(path)
        self._next_fd += 1
        self._open[self._next_fd] = path
        return self._next_fd

    def close(self, fd: int) -> None:
        del self._open[fd]

    def size(self, path: str) -> int:
        return len(self.files.get(path, b""))

    def free_bytes(self, fd: int) -> int:
        assert fd in self._open
        return self.capacity_bytes - self.used_bytes

    def allocate(self, fd: int, start: int, count: int) -> None:
        path = self._open[fd]
        if not self.allocates:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
        has = max(len(self.files[path]), self.ahead.get(path, 0))
        if start + count - has > self.capacity_bytes - self.used_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self.ahead[path] = max(has, start + count)

    def trim(self, fd: int, size: int) -> None:
        path = self._open[fd]
        assert size == len(self.files[path]), "trimmed to another size than it has"
        self.ahead.pop(path, None)

    def read(self, fd: int, count: int, offset: int) -> bytes:
        path = self._open[fd]
        return bytes(self.files.get(path, bytearray())[offset : offset + count])

    def write(self, fd: int, data: bytes, offset: int) -> int:
        path = self._open[fd]
        self._change(path)
        file = self.files.setdefault(path, bytearray())
        if len(file) < offset:
            file.extend(bytes(offset - len(file)))
        file[offset : offset + len(data)] = data
        return len(data)

    def splice(self, pipe_fd: int, fd: int, count: int, offset: int) -> int:
        path = self._open[fd]
        if not self.pipes[pipe_fd].can_be_read:
            raise BlockingIOError(errno.EAGAIN, "the pipe is empty")
        self._change(path)
        room = max(0, self.capacity_bytes - self.used_bytes)
        room += max(0, self.ahead.get(path, 0) - len(self.files[path]))
        if self.pipes[pipe_fd] and room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        data = self._from_pipe(pipe_fd, min(count, room))
        file = self.files[path]
        assert len(file) == offset, "a hole, or bytes that are overwritten"
        file += data
        if data:
            self.kept_end = len(self.produced)
        return len(data)

    def discard(self, pipe_fd: int, count: int) -> int:
        if not self.pipes[pipe_fd].can_be_read:
            raise BlockingIOError(errno.EAGAIN, "the pipe is empty")
        self._change("/dev/null")
        return len(self._from_pipe(pipe_fd, count))

    def _from_pipe(self, pipe_fd: int, count: int) -> bytes:
        pipe = self.pipes[pipe_fd]
        if self.short and len(pipe) > 1:
            self.short = False
            count = min(count, len(pipe) // 2)
        data = pipe.take(count)
        self.left_pipe(pipe_fd, data)
        return data

    def left_pipe(self, pipe_fd: int, data: bytes) -> None:
        """These bytes are the log's to keep or to announce, from now on."""
        self.produced += data
        self.owners += bytes([2 if pipe_fd == STDERR_PIPE else 1]) * len(data)

    def unlink(self, path: str) -> None:
        if path in self.files:
            self._change(path)
            del self.files[path]
            self.ahead.pop(path, None)

    def remove_tree(self, path: str) -> None:
        self.directories.discard(path)
        for name in [name for name in self.files if name.startswith(path + "/")]:
            del self.files[name]
            self.ahead.pop(name, None)
