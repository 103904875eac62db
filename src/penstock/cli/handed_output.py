"""Descriptors that a caller has handed to a host, to write to.

A reader that stands still, as a pager does, must hold up that caller alone. O_NONBLOCK would not
do: it belongs to the open file, which is the caller's and its shell's, too. So a thread writes,
one for each place, as long as something waits to be written.
"""

import io
import os
import select
import threading
from collections import deque
from contextlib import suppress
from functools import cached_property
from typing import Any, Final, TextIO

import trio

from .descriptors import Descriptor, ForgivingStream, OutputFailed

# Of one write: what may still come out once the rest is not wanted any more.
_PIECE_BYTES: Final = 64 * 1024
# How long a thread may take to say that a write has ended, which it does at once but for the
# interpreter's other threads.
_SAYS_SO_S: Final = 0.01
# After which a thread that waits for room looks whether its text is still wanted.
_LOOKS_AGAIN_MS: Final = 1000


class HandedOutput(Descriptor):
    """One of them, as ``invocation.HostedOutput`` has it; make them by ``handed_outputs``."""

    def __init__(self, fd: int, name: str, writer: "_PlaceWriter", encoding: str) -> None:
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
        """Keeps it to be written. Raises OutputFailed."""
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

    def close(self) -> None:
        """Closes the descriptor, once the write under way has ended; the rest is not written."""
        self._writer.close(self)

    def _put(self, data: bytes) -> "_OutputPiece":
        self.place.wrote(data)
        piece = _OutputPiece(self, data)
        self._writer.put(piece)
        return piece


class _HandedText(io.TextIOWrapper):
    # Otherwise asyncclick, which remembers each stream that it has written help to, would keep it.
    __hash__ = None  # type: ignore[assignment]


class _OutputPiece:
    """What one call has sent."""

    def __init__(self, output: HandedOutput, data: bytes) -> None:
        self.output = output
        self.abandoned = False
        self.written = False
        """Or given up; the thread is done with it."""
        self.done = trio.Event()
        """The same, as Trio's tasks see it."""
        self.awaited_by: trio.lowlevel.Task | None = None
        self._data = data

    def write(self) -> None:
        """In the writer's thread; blocks. A failure is the output's."""
        output = self.output
        view = memoryview(self._data)
        try:
            while view and not self.abandoned and output.failure is None:
                try:
                    view = view[os.write(output.fd, view[:_PIECE_BYTES]) :]
                except BlockingIOError:  # another process that shares it set O_NONBLOCK
                    _poll_writable(output.fd, _LOOKS_AGAIN_MS)
        except OSError as error:
            output.failure = OutputFailed(output.name, error, terminal=output.terminal)

    def set_done(self) -> None:
        """In Trio's thread."""
        self.done.set()
        if self.awaited_by is not None:
            trio.lowlevel.reschedule(self.awaited_by)


class _PlaceWriter:
    """Writes pieces in the order in which they came, to one or two descriptors of one place."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Condition()
        self._pieces: deque[_OutputPiece] = deque()
        self._writing = False
        self._closing: list[int] = []

    def put(self, piece: _OutputPiece) -> None:
        with self._lock:
            if piece.output.closed:  # by one that was left, and goes on in a thread
                self._tell_done(piece)
                return
            self._pieces.append(piece)
            begin, self._writing = not self._writing, True
        if begin:
            trio.lowlevel.start_thread_soon(self._write, _ignore, name="penstock output")

    def last_of(self, output: HandedOutput) -> _OutputPiece | None:
        """The last one that is wanted and not written yet."""
        with self._lock:
            for piece in reversed(self._pieces):
                if piece.output is output and not piece.abandoned:
                    return piece
        return None

    def is_written(self, piece: _OutputPiece) -> bool:
        """Whether all of it is; otherwise it is not wanted any more: at most a write that has begun
        goes on."""
        with self._lock:
            first = bool(self._pieces) and piece is self._pieces[0]
            if first and _poll_writable(piece.output.fd, 0):
                # Nothing holds it up, so it has ended, or ends now.
                self._lock.wait_for(lambda: piece.written, _SAYS_SO_S)
            piece.abandoned = not piece.written
            return piece.written

    def close(self, output: HandedOutput) -> None:
        with self._lock:
            if output.closed:
                return
            output.closed = True
            for piece in self._pieces:
                piece.abandoned = piece.abandoned or piece.output is output
            if self._writing:
                self._closing.append(output.fd)
                return
        os.close(output.fd)

    def _write(self) -> None:
        while True:
            with self._lock:
                if not self._pieces:
                    self._writing = False
                    closing, self._closing = self._closing, []
                    break
                piece = self._pieces[0]
            piece.write()
            with self._lock:
                self._pieces.popleft()
                piece.written = True
                self._lock.notify()
            self._tell_done(piece)
        for fd in closing:
            os.close(fd)

    def _tell_done(self, piece: _OutputPiece) -> None:
        with suppress(trio.RunFinishedError):  # the host has ended
            self._token.run_sync_soon(piece.set_done)


def _poll_writable(fd: int, timeout_ms: int) -> bool:
    """Whether a write to it would not wait. Not by select, which knows no number above 1023."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout_ms))


def _ignore(outcome: Any) -> None:  # noqa: ANN401  Trio's
    """Of a thread that returns nothing; an error in it is a bug, and raised here."""
    outcome.unwrap()


def handed_outputs(
    out: int, err: int, *, encoding: str = "utf-8"
) -> tuple[HandedOutput, HandedOutput]:
    """Standard output and error of a caller, by descriptors that are taken over. If both lead to
    one place, its text comes out in the order in which it was written to either."""
    writer = _PlaceWriter()
    one_place = os.path.sameopenfile(out, err)
    found = (
        HandedOutput(out, "standard output", writer, encoding),
        HandedOutput(err, "standard error", writer if one_place else _PlaceWriter(), encoding),
    )
    if one_place:
        found[1].place = found[0].place
    _ = found[0].terminal, found[1].terminal  # now, because it may be closed later
    return found
