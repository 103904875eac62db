"""Readers of a log: each a cursor of its own, woken by a lossy broadcast."""

from typing import Self

import trio

from .output import Chunk, OutputLog


class OutputReader:
    """Chunks of a log from an offset on, in order, each byte once.

    With ``follow`` it ends when the log has ended and was read to the end, else at the
    end the log had when the reader was made. Minimum cleanup: cancelled, nothing is lost
    and the next chunk is where it was; close() frees everything at once.
    """

    def __init__(self, log: OutputLog, offset: int, follow: bool) -> None:
        """Raises OffsetPastEnd, or OSError if the log is gone."""
        log.check_offset(offset)
        log.acquire()
        self._log = log
        self._offset = offset
        self._position = 0
        self._end = None if follow else log.length
        self._waker, self._wakeups = log.subscribe()
        self._open = True

    @property
    def at_end(self) -> bool:
        """Whether every byte that the log has was given."""
        return self._offset >= self._log.length

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        """The next chunk, waiting for it if need be. A checkpoint always."""
        await trio.lowlevel.checkpoint()
        log = self._log
        while True:
            if self._end is not None and self._offset >= self._end:
                raise StopAsyncIteration
            if self._offset < log.length:
                chunk, self._position = log.read(self._offset, self._position)
                if self._end is not None and chunk.offset + len(chunk.data) > self._end:
                    data = chunk.data[: self._end - chunk.offset]
                    chunk = Chunk(chunk.stream, chunk.offset, chunk.time_ns, data)
                self._offset += len(chunk.data)
                return chunk
            if log.ended:
                raise StopAsyncIteration
            await self._wakeups.receive()

    def close(self) -> None:
        """Frees the cursor; again is fine."""
        if self._open:
            self._open = False
            self._log.unsubscribe(self._waker)
            self._waker.close()
            self._wakeups.close()
            self._log.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
