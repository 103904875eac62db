"""Descriptors that a caller has handed to a host, to write to.

A reader that stands still, as a pager does, must hold up that caller alone. O_NONBLOCK would not
do: it belongs to the open file, which is the caller's and its shell's, too. So a thread writes,
one for each place, as long as something waits to be written.
"""

import errno
import io
import os
from functools import cached_property
from typing import Final, TextIO

import trio

from .descriptors import Descriptor, ForgivingStream, OutputFailed
from .place_writer import OutputPiece, PlaceWriter

# A reader that stands still while a verb says so much at once will never be given the rest.
_MOST_BYTES: Final = 64 * 1024 * 1024


class HandedOutput(Descriptor):
    """One of them, as ``invocation.HostedOutput`` has it; make them by ``handed_outputs``."""

    def __init__(self, fd: int, name: str, writer: PlaceWriter, encoding: str) -> None:
        super().__init__(fd, name)
        self.closed = False
        self._writer = writer
        self._encoding = encoding

    @cached_property
    def text(self) -> TextIO:
        """Takes text; its writes never fail."""
        return _HandedText(
            ForgivingStream(self),  # type: ignore[arg-type]  # as python -u does it
            encoding=self._encoding,
            errors="backslashreplace",
            newline="\n",
            write_through=True,
        )

    def send(self, data: bytes) -> None:
        """Keeps it to be written. Raises OutputFailed, also where too much waits already."""
        if self.failure is None and self._writer.waiting_bytes > _MOST_BYTES:
            full = OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
            self.failure = OutputFailed(self.name, full, terminal=self.terminal)
        if self.failure is not None:
            raise self.failure
        self._put(data)

    async def write(self, data: bytes) -> None:
        """Returns once all of it is written. Raises OutputFailed.

        Cancelled: an unknown part is written.

        Cancellation: minimum cleanup.
        """
        if self.failure is not None:
            await trio.lowlevel.checkpoint()
            raise self.failure
        piece = self._put(data)
        piece.awaited_by = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            # What is written counts, or it would be written again after a resume.
            if self._writer.is_written(piece):
                return trio.lowlevel.Abort.FAILED
            piece.awaited_by = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if self.failure is not None:
            raise self.failure

    async def flush(self) -> None:
        """Returns once all that was sent is written, or a write has failed. Never fails.

        No checkpoint where nothing waits.

        Cancellation: minimum cleanup.
        """
        while (piece := self._writer.last_of(self)) is not None:
            await piece.done.wait()

    @property
    def writing(self) -> bool:
        """Whether a write is under way, which may be for as long as its reader stands still."""
        return self._writer.writing

    def hold(self) -> None:
        """Nothing is written from now on, until ``resume``, but what a write has begun with."""
        self._writer.hold()

    def resume(self) -> None:
        """What was held is written, and all that comes."""
        self._writer.resume()

    async def wait_held(self) -> None:
        """Returns once no write is under way, after ``hold``. No checkpoint where none is.

        Cancellation: atomic.
        """
        await self._writer.wait_held()

    def close(self) -> None:
        """Closes the descriptor, once the write under way has ended; the rest is not written."""
        self._writer.close(self)

    def _put(self, data: bytes) -> OutputPiece:
        self.place.wrote(data)
        piece = OutputPiece(self, data)
        self._writer.put(piece)
        return piece


class _HandedText(io.TextIOWrapper):
    # Otherwise asyncclick, which remembers each stream that it has written help to, would keep it.
    __hash__ = None  # type: ignore[assignment]


def handed_outputs(
    out: int, err: int, *, encoding: str = "utf-8"
) -> tuple[HandedOutput, HandedOutput]:
    """Standard output and error of a caller, by descriptors that are taken over. If both lead to
    one place, its text comes out in the order in which it was written to either."""
    writer = PlaceWriter()
    one_place = os.path.sameopenfile(out, err)
    found = (
        HandedOutput(out, "standard output", writer, encoding),
        HandedOutput(err, "standard error", writer if one_place else PlaceWriter(), encoding),
    )
    if one_place:
        found[1].place = found[0].place
    _ = found[0].terminal, found[1].terminal  # now, because it may be closed later
    return found
