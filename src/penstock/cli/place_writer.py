"""The thread that writes to one place of a caller's, as long as something waits to be written."""

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import trio

from .descriptors import OutputFailed

if TYPE_CHECKING:
    from .handed_output import HandedOutput

# Of one write: what may still come out once the rest is not wanted any more.
_PIECE_BYTES: Final = 64 * 1024
# How long a thread may take to say that a write has ended, which it does at once but for the
# interpreter's other threads.
_SAYS_SO_S: Final = 0.01
# After which a thread that waits for room looks whether its text is still wanted.
_LOOKS_AGAIN_MS: Final = 1000


class OutputPiece:
    """What one call has sent."""

    def __init__(self, output: "HandedOutput", data: bytes) -> None:
        self.output = output
        self.abandoned = False
        self.written = False
        """Or given up; the thread is done with it."""
        self.done = trio.Event()
        """The same, as Trio's tasks see it."""
        self.awaited_by: trio.lowlevel.Task | None = None
        self.left = memoryview(data)

    @property
    def wanted(self) -> bool:
        """Whether some of it is still to be written."""
        return bool(self.left) and not self.abandoned and self.output.failure is None

    def write_some(self) -> None:
        """In the writer's thread; blocks. A failure is the output's."""
        output = self.output
        try:
            self.left = self.left[os.write(output.fd, self.left[:_PIECE_BYTES]) :]
        except BlockingIOError:  # another process that shares it set O_NONBLOCK
            _poll_writable(output.fd, _LOOKS_AGAIN_MS)
        except OSError as error:
            output.failure = OutputFailed(output.name, error, terminal=output.terminal)

    def set_done(self) -> None:
        """In Trio's thread."""
        self.done.set()
        if self.awaited_by is not None:
            trio.lowlevel.reschedule(self.awaited_by)


class PlaceWriter:
    """Writes pieces in the order in which they came, to one or two descriptors of one place."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Condition()
        self._pieces: deque[OutputPiece] = deque()
        self._closing: list[int] = []
        self._held = False
        self._stopped = trio.Event()
        self.writing = False
        """A thread is at work."""
        self.waiting_bytes = 0

    def put(self, piece: OutputPiece) -> None:
        """Writes it behind all that came before."""
        with self._lock:
            if piece.output.closed:  # by one that was left, and goes on in a thread
                self._tell(piece.set_done)
                return
            self._pieces.append(piece)
            self.waiting_bytes += len(piece.left)
        self._begin()

    def _begin(self) -> None:
        with self._lock:
            begin = bool(self._pieces) and not self._held and not self.writing
            self.writing = self.writing or begin
        if begin:
            trio.lowlevel.start_thread_soon(self._write, _ignore, name="penstock output")

    def last_of(self, output: "HandedOutput") -> OutputPiece | None:
        """The last one that is wanted and not written yet."""
        with self._lock:
            for piece in reversed(self._pieces):
                if piece.output is output and not piece.abandoned:
                    return piece
        return None

    def is_written(self, piece: OutputPiece) -> bool:
        """Whether all of it is; otherwise it is not wanted any more: at most a write that has begun
        goes on."""
        with self._lock:
            first = bool(self._pieces) and piece is self._pieces[0]
            if first and _poll_writable(piece.output.fd, 0):
                # Nothing holds it up, so it has ended, or ends now.
                self._lock.wait_for(lambda: piece.written, _SAYS_SO_S)
            piece.abandoned = not piece.written
            return piece.written

    def hold(self) -> None:
        """Nothing more is written, but what a write has begun with."""
        with self._lock:
            self._held = True

    def resume(self) -> None:
        """Writes on."""
        with self._lock:
            self._held = False
        self._begin()

    async def wait_held(self) -> None:
        """Returns once no write is under way. No checkpoint where none is.

        Cancellation: atomic.
        """
        while self.writing:
            await self._stopped.wait()

    def close(self, output: "HandedOutput") -> None:
        """Closes its descriptor, once a write under way has ended."""
        with self._lock:
            if output.closed:
                return
            output.closed = True
            for piece in self._pieces:
                piece.abandoned = piece.abandoned or piece.output is output
            if self.writing:
                self._closing.append(output.fd)
                return
        os.close(output.fd)

    def _write(self) -> None:
        while True:
            with self._lock:
                if not self._pieces or self._held:
                    self.writing = False
                    closing, self._closing = self._closing, []
                    break
                piece = self._pieces[0]
            waited = len(piece.left)
            if piece.wanted:
                piece.write_some()
            with self._lock:
                self.waiting_bytes -= waited - len(piece.left)
                if piece.wanted:
                    continue
                self.waiting_bytes -= len(piece.left)
                self._pieces.popleft()
                piece.written = True
                self._lock.notify()
            self._tell(piece.set_done)
        for fd in closing:
            os.close(fd)
        self._tell(self._tell_stopped)

    def _tell_stopped(self) -> None:
        self._stopped.set()
        self._stopped = trio.Event()

    def _tell(self, call: Callable[[], object]) -> None:
        with suppress(trio.RunFinishedError):  # the host has ended
            self._token.run_sync_soon(call)


def _poll_writable(fd: int, timeout_ms: int) -> bool:
    """Whether a write to it would not wait. Not by select, which knows no number above 1023."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(timeout_ms))


def _ignore(outcome: Any) -> None:  # noqa: ANN401  Trio's
    """Of a thread that returns nothing; an error in it is a bug, and raised here."""
    outcome.unwrap()
