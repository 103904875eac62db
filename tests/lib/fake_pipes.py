"""Pipes in memory: what is in them, who has which end, and who waits for them."""

import errno
import os

import trio

CAPACITY = 65_536


class FakePipe(bytearray):
    """The bytes on their way. ``writers`` and ``readers`` count open ends."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        super().__init__()
        self.capacity = capacity
        self.writers = 1
        self.readers = 1
        self.changed = trio.lowlevel.ParkingLot()

    @property
    def ended(self) -> bool:
        """Nobody can write any more; what is in it can still be read."""
        return self.writers == 0

    def feed(self, data: bytes) -> int:
        """As write(2) on a pipe that does not block."""
        if not self.readers:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        taken = data[: self.capacity - len(self)]
        if data and not taken:
            raise BlockingIOError(errno.EAGAIN, "the pipe is full")
        self += taken
        self.changed.unpark_all()
        return len(taken)

    def take(self, count: int) -> bytes:
        """As read(2) on a pipe that does not block: ``b""`` is its end."""
        if not self and not self.ended:
            raise BlockingIOError(errno.EAGAIN, "the pipe is empty")
        data = bytes(self[:count])
        del self[:count]
        self.changed.unpark_all()
        return data

    def close(self, *, write: bool) -> None:
        """One of its ends."""
        if write:
            self.writers -= 1
        else:
            self.readers -= 1
        self.changed.unpark_all()

    @property
    def can_be_read(self) -> bool:
        return bool(self) or self.ended

    @property
    def can_be_written(self) -> bool:
        return len(self) < self.capacity or not self.readers


class FakePipes:
    """Descriptors of pipes, by number; the part of Disk that is about pipes."""

    def __init__(self) -> None:
        self.pipes: dict[int, FakePipe] = {}
        self._write_ends: set[int] = set()
        self._next_pipe_fd = 2000

    def make_pipe(self, capacity: int = CAPACITY) -> tuple[int, int]:
        """A read end and a write end."""
        pipe = FakePipe(capacity)
        return self.add_end(pipe), self.add_end(pipe, write=True)

    def add_end(self, pipe: FakePipe, *, write: bool = False) -> int:
        """A descriptor of an end that ``pipe`` has counted already."""
        self._next_pipe_fd += 1
        self.pipes[self._next_pipe_fd] = pipe
        if write:
            self._write_ends.add(self._next_pipe_fd)
        return self._next_pipe_fd

    def capacity(self, pipe_fd: int) -> int:
        return self.pipes[pipe_fd].capacity

    def waiting(self, pipe_fd: int) -> int | None:
        pipe = self.pipes[pipe_fd]
        return None if pipe.ended and not pipe else len(pipe)

    def fill(self, pipe_fd: int, data: bytes) -> int:
        return self.pipes[pipe_fd].feed(data)

    def forward(self, pipe_fd: int, to_fd: int, count: int) -> int:
        source, target = self.pipes[pipe_fd], self.pipes[to_fd]
        if not source.can_be_read:
            raise BlockingIOError(errno.EAGAIN, "the pipe is empty")
        moved = target.feed(bytes(source[:count]))
        source.take(moved)
        return moved

    async def wait_readable(self, pipe_fd: int) -> None:
        await self._wait(pipe_fd, "can_be_read")

    async def wait_writable(self, pipe_fd: int) -> None:
        await self._wait(pipe_fd, "can_be_written")

    async def _wait(self, pipe_fd: int, what: str) -> None:
        pipe = self.pipes[pipe_fd]
        if getattr(pipe, what):
            await trio.lowlevel.checkpoint()
        while not getattr(pipe, what):
            await pipe.changed.park()
            if self.pipes.get(pipe_fd) is not pipe:
                raise trio.ClosedResourceError("the pipe was closed")

    def close_pipe(self, pipe_fd: int) -> None:
        pipe = self.pipes.pop(pipe_fd)
        write = pipe_fd in self._write_ends
        self._write_ends.discard(pipe_fd)
        pipe.close(write=write)
