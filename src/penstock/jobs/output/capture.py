"""The reader task of each of a job's pipes: moves it into the log, no faster than its class allows.

Two things here are said to read. A *reader task* reads a pipe of the job, and so is the log's
writer: the job nursery (lifecycle.py) has one for stdout and, if it is apart, one for stderr. A
*reader* (reader.py) reads the log, for a client; there are any number of those.

A reader task is the only one that takes bytes from its pipe while the job lives, and wakes the
log's readers after each move (broadcaster.py); ``drain`` takes the rest when all processes are
dead and the reader tasks have ended.
"""

from collections.abc import Callable
from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted
from ..backends.base import JobPipes
from .disk import Disk
from .output_quota import Intake, MustStop, MustWait
from .segment_index import StreamNumber

_BURST_S: Final = 0.1
# Small writes in quick succession are moved together, because a splice, a wake-up of every reader
# and a message for each write would cost more than all their bytes. The first few of a burst are
# not delayed, so that a single line never waits.
COALESCE_S: Final = 0.005
_SMALL_BYTES: Final = 16 * 1024
_FREE_WAKES: Final = 8
# While bytes are left out, readers get their number only so often.
_GAP_NOTICE_S: Final = 0.1
_NEVER: Final = float("inf")


class Bandwidth:
    """A token bucket of bytes on Trio's clock, shared by a job's streams; None is no limit."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = -float("inf")

    async def spend(self, count: int) -> None:
        """Waits until ``count`` bytes, which were moved already, are due. Always a checkpoint.

        Cancellation: minimum cleanup; C9.
        """
        if self._bytes_per_s is None:
            await trio.lowlevel.checkpoint()
            return
        earliest = trio.current_time() - _BURST_S
        self._free_at = max(self._free_at, earliest) + count / self._bytes_per_s
        await trio.sleep_until(self._free_at)


class Pace:
    """Holds a stream of small writes to one wake-up in COALESCE_S, after a burst of a few."""

    def __init__(self, capacity: int) -> None:
        """``capacity`` is how many bytes the pipe holds."""
        # A pipe that is half full is emptied at once, because the job would otherwise wait.
        self._small = min(_SMALL_BYTES, capacity // 2)
        self._due = -float("inf")

    async def wait(self, moved: int) -> None:
        """Called after a move of ``moved`` bytes: waits if small moves have been too many.

        No checkpoint where it need not wait.

        Cancellation: minimum cleanup; C9.
        """
        if moved >= self._small:
            return
        now = trio.current_time()
        self._due = max(self._due, now - _FREE_WAKES * COALESCE_S) + COALESCE_S
        if self._due > now:
            await trio.sleep_until(self._due)


@uninterrupted
async def reader_task(
    intake: Intake,
    pipe_fd: int,
    stream: StreamNumber,
    bandwidth: Bandwidth,
    on_must_stop: Callable[[MustStop], None],
) -> None:
    """Reads one pipe of a job and writes the log (the module's text has more), until end of file.

    If the policy stops the job at its bound, it calls ``on_must_stop`` and returns. While it waits
    for its bandwidth, or for room, the pipe fills and the job waits; a slow reader never makes the
    job wait. Minimum cleanup: cancelled, it leaves the pipe's bytes there for ``drain``.

    Cancellation: minimum cleanup; C9, C10.
    """
    disk = intake.log.disk
    pace = Pace(disk.capacity(pipe_fd))
    notices = _Notices(intake)
    while True:
        if notices.due == _NEVER:  # the usual case; a cancel scope costs an idle job half a KiB
            await disk.wait_readable(pipe_fd)
        else:
            # Scope S5.news.
            with trio.move_on_at(notices.due):
                await disk.wait_readable(pipe_fd)
        # A task that has ended the job's task meanwhile may have ended its log; what the pipe has
        # is drain's, or the next server's.
        await trio.lowlevel.checkpoint_if_cancelled()
        notices.send_if_due()
        try:
            moved = intake.take(pipe_fd, stream)
        except BlockingIOError:
            continue
        except MustWait as reason:
            await intake.wait_room(reason)
            continue
        except MustStop as reason:
            on_must_stop(reason)
            return
        if moved == 0:
            return
        notices.moved()
        await bandwidth.spend(moved)
        await pace.wait(moved)


class _Notices:
    """Wakes readers after each move; while bytes are left out, only a few times a second."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._sent_at = -float("inf")
        self.due = _NEVER
        """When readers must be woken even if no more bytes come, on Trio's clock."""

    def moved(self) -> None:
        if self._intake.refusing and trio.current_time() < self._sent_at + _GAP_NOTICE_S:
            self.due = self._sent_at + _GAP_NOTICE_S
        else:
            self._send()

    def send_if_due(self) -> None:
        if trio.current_time() >= self.due:
            self._send()

    def _send(self) -> None:
        self._sent_at = trio.current_time()
        self.due = _NEVER
        self._intake.log.notify()


def drain(intake: Intake, pipe_fd: int, stream: StreamNumber) -> bool:
    """Moves what is left when all processes are dead, to end of file or until the pipe is empty.

    At most one pipe's content is taken, because a descriptor that escaped the job may keep the pipe
    open and full. Bytes that cannot be kept become a gap. False: the disk records no gap now, so
    the caller must try again.
    """
    left = intake.log.disk.capacity(pipe_fd)
    while left > 0:
        try:
            moved = intake.take_last(pipe_fd, stream)
        except BlockingIOError:
            return True
        except MustWait:
            return False
        if moved == 0:
            return True
        left -= moved
    return True


def outputs_of(pipes: JobPipes) -> list[tuple[int, StreamNumber]]:
    """The descriptors of a job's output pipes, each with its stream."""
    outputs: list[tuple[int, StreamNumber]] = [(pipes.stdout_fd, 1)]
    if pipes.stderr_fd is not None:
        outputs.append((pipes.stderr_fd, 2))
    return outputs


def close_pipes(disk: Disk, pipes: JobPipes) -> None:
    """Closes all pipes of a job that no task will follow."""
    for fd, _ in outputs_of(pipes):
        disk.close_pipe(fd)
    if pipes.input is not None:
        for fd in (pipes.input.job_fd, pipes.input.read_fd, pipes.input.write_fd):
            disk.close_pipe(fd)
