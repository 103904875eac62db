"""Readers of a log: each a cursor of its own, woken by the log's broadcaster.

They serve clients. What fills the log are the reader tasks of the job's pipes (capture.py).
"""

from collections.abc import Collection
from typing import Self

import trio

from ...concurrency.interrupts import uninterrupted_methods
from .cursor import BOTH, Chunk, Cursor
from .gaps import Gap
from .output_log import OutputLog
from .segment_index import StreamNumber

# How many runs of streams that it leaves out a reader skips in one call.
_PASSED_OVER = 256
# Not one for each call, because a whole checkpoint costs as much as reading a chunk.
_CALLS_PER_CHECKPOINT = 8


@uninterrupted_methods
class OutputReader:
    """Chunks and gaps of a log from an offset on, in order, each byte once.

    With ``follow`` it ends when the log has ended and was read to the end; otherwise at the end
    that the log had when the reader was made. Streams that are not in ``streams`` are left out.
    Minimum cleanup: cancelled, it loses nothing and the next chunk is where it was. The owner must
    ``close`` it, which frees everything at once.
    """

    def __init__(
        self,
        log: OutputLog,
        offset: int = 0,
        follow: bool = True,
        streams: Collection[StreamNumber] = BOTH,
    ) -> None:
        """Begins at ``offset``. Raises OffsetPastEnd if the job has not produced that yet."""
        log.check_offset(offset)
        self._log = log
        self._cursor = Cursor(log, offset, streams)
        self._stop = None if follow else log.length
        # Before the first look at the log, so that no wake-up is lost: see broadcaster.py.
        self._wakeups = log.broadcaster.subscribe()
        self._open = True
        self._calls = 0

    @property
    def offset(self) -> int:
        """The offset of the next byte. All before it were given, reported as gaps, or left out."""
        return self._cursor.offset

    @property
    def at_end(self) -> bool:
        """Whether every byte that the log has was given."""
        return self._cursor.offset >= self._log.length

    @property
    def streams(self) -> Collection[StreamNumber]:
        """The streams that are not left out."""
        return self._cursor.streams

    @property
    def must_wait(self) -> bool:
        """Whether ``wait_ready`` would wait for the job now."""
        at = self._cursor.offset
        return at >= self._log.length and not self._log.ended and at != self._stop

    def skip(self, end: int) -> bool:
        """Skips the bytes up to ``end``, which the caller has from elsewhere. False: the reader
        ends before that, so nothing was skipped."""
        if self._stop is not None and end > self._stop:
            return False
        self._cursor.offset = end
        return True

    async def wait_ready(self) -> bool:
        """Returns when ``take`` has something to look at; False at the reader's end. Atomic.

        A call that must wait is a checkpoint. Where there is something, each call may be cancelled,
        but other tasks run in each eighth only; the seven between are no checkpoint, because a
        whole one costs as much as a chunk. So a caller that computes for long must add its own.

        Cancellation: atomic; C1.
        """
        self._calls += 1
        if self._calls % _CALLS_PER_CHECKPOINT == 0:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._stop is not None and self._cursor.offset >= self._stop:
                return False
            if self._cursor.offset < self._log.length:
                return True
            if self._log.ended:
                return False
            await self._wakeups.wait()

    def take(self) -> Chunk | Gap | None:
        """What is at the offset now. None: only left-out streams were there; look again.

        Raises Unavailable: this process lacks descriptors.
        """
        end = self._log.length if self._stop is None else self._stop
        for _ in range(_PASSED_OVER):
            if self._cursor.offset >= end:
                break
            piece = self._cursor.take(end)
            if piece is not None:
                return piece
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk | Gap:
        """The next chunk or gap; waits for it if there is none yet.

        No checkpoint in most calls that need not wait: see wait_ready.

        Cancellation: atomic; C1.
        """
        while await self.wait_ready():
            piece = self.take()
            if piece is not None:
                return piece
        raise StopAsyncIteration

    def close(self) -> None:
        """Frees the cursor and the subscription. Idempotent; no checkpoint."""
        if self._open:
            self._open = False
            self._wakeups.close()
            self._cursor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
