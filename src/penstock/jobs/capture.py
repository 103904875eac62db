"""Moving a job's pipes into its log, no faster than its class allows."""

import fcntl
import os
from collections.abc import Callable
from typing import Final

import trio

from .output import OutputLog, StreamNumber

_F_GETPIPE_SZ: Final = 1032
_BURST_S: Final = 0.1


class Bandwidth:
    """A token bucket on Trio's clock, shared by a job's streams; None is no limit."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = -float("inf")

    async def spend(self, count: int) -> None:
        """Waits until so many bytes, which have gone already, were due. A checkpoint."""
        if self._bytes_per_s is None:
            await trio.lowlevel.checkpoint()
            return
        earliest = trio.current_time() - _BURST_S
        self._free_at = max(self._free_at, earliest) + count / self._bytes_per_s
        await trio.sleep_until(self._free_at)


async def capture(
    log: OutputLog,
    pipe_fd: int,
    stream: StreamNumber,
    bandwidth: Bandwidth,
    on_failed: Callable[[OSError], None],
) -> None:
    """Moves until end of file. A failing disk ends it, through ``on_failed``, and nothing else.

    While it waits for its bandwidth the pipe fills and holds the job, never a reader.
    Minimum cleanup: cancelled, what the pipe has stays there for drain.
    """
    while True:
        await trio.lowlevel.wait_readable(pipe_fd)
        try:
            moved = log.move(pipe_fd, stream)
        except BlockingIOError:
            continue
        except OSError as error:
            on_failed(error)
            return
        if moved == 0:
            return
        log.notify()
        await bandwidth.spend(moved)


def drain(log: OutputLog, pipe_fd: int, stream: StreamNumber) -> None:
    """Moves what is left when all processes are dead: to end of file, or until it is empty.

    A descriptor that escaped the job keeps the pipe open; no more than one pipe's content
    is taken then. Raises OSError if the disk does not take it.
    """
    left = fcntl.fcntl(pipe_fd, _F_GETPIPE_SZ)
    while left > 0:
        try:
            moved = log.move(pipe_fd, stream)
        except BlockingIOError:
            return
        if moved == 0:
            return
        left -= moved


def close_pipe(pipe_fd: int) -> None:
    """Closes a pipe that a task may be waiting on."""
    trio.lowlevel.notify_closing(pipe_fd)
    os.close(pipe_fd)
