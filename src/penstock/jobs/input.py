"""What a job reads: bytes of its owner, each taken once, whoever has died meanwhile.

Two pipes and a note. What is accepted is written into a pipe of our own, which the supervisor
holds too, and moved on into the job's (splice(2): no byte is ever nowhere or twice); while
the job does not read, that waits, and so does its sender. The note, one small write to a file,
says how much was accepted. Two system calls cannot happen as one, so before bytes are written
into our pipe, which is empty then, it says so; and that they are there before any is moved on.
A server that takes the job over finds either "writing from a": then all that is in the pipe
came after byte a; or "accepted up to b". Either is exact.

A note survives SIGKILL of all our processes. A crash of the machine ends the job, too.
"""

import contextlib
import fcntl
import os
import struct
import termios
import zlib
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Final, TypeVar

import trio

from .backend import InputPipes
from .errors import InputGap, InputTakenOver, JobError, Precondition
from .telling import say

NOTE_NAME: Final = "input"
_BODY: Final = struct.Struct("<BQ")  # phase, accepted
_NOTE: Final = struct.Struct("<BQI")  # and their CRC-32
_MOVE_BYTES: Final = 1 << 20

T = TypeVar("T")


class Phase(IntEnum):
    """What the note's number says."""

    WRITING = 1  # so much was accepted, and moved on; what our pipe holds came after it
    ACCEPTED = 2  # so much is accepted
    ENDED = 3  # as before, and then the end


class Note:
    """The file. Raises OSError; ValueError if it holds something else."""

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, NOTE_NAME)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> tuple[Phase, int]:
        """As it was written last; an empty one is a job's that was never sent anything."""
        data = os.pread(self._fd, _NOTE.size, 0)
        if not data:
            self.write(Phase.ACCEPTED, 0)  # its place on the disk is taken from now on
            return Phase.ACCEPTED, 0
        if len(data) < _NOTE.size or zlib.crc32(data[: _BODY.size]) != _NOTE.unpack(data)[2]:
            raise ValueError("it is damaged")
        phase, accepted, _ = _NOTE.unpack(data)
        return Phase(phase), accepted

    def write(self, phase: Phase, accepted: int) -> None:
        """Within one page, so a kill leaves the old one or the new one."""
        body = _BODY.pack(phase, accepted)
        os.pwrite(self._fd, body + struct.pack("<I", zlib.crc32(body)), 0)

    def close(self) -> None:
        """Frees the descriptor."""
        os.close(self._fd)


class Sender:
    """Who sends a job's input now. ``error`` is why it may not any more."""

    def __init__(self) -> None:
        self.error: JobError | None = None
        self._scope: trio.CancelScope | None = None

    async def wait(self, what: Callable[..., Awaitable[T]], *args: object) -> T:
        """What ``what`` returns. Raises ``error`` as soon as there is one, also while it waits.

        Cancellation is what it is for ``what``.

        Cancellation: minimum cleanup; C19, C20.
        """
        if self.error is None:
            # Scope S3.sender.
            with trio.CancelScope() as self._scope:
                return await what(*args)
        self._scope = None
        assert self.error is not None
        raise self.error

    def end(self, error: JobError) -> None:
        """No checkpoint. The first error counts."""
        self.error = self.error or error
        if self._scope is not None:
            # Cancels S3.sender.
            self._scope.cancel()


class JobInput:
    """The input of one job. The pipes are this object's from now on, until ``close``."""

    def __init__(
        self, pipes: InputPipes | None, directory: str, handle: str, on_end: Callable[[], None]
    ) -> None:
        """Goes on where the note in ``directory``, the job's, says. ``pipes`` None: its end was
        passed on. ``on_end`` is called once no copy of the descriptors is left here and the job
        is to read the end."""
        self.accepted = 0
        """Bytes, in total."""
        self.ended = False
        """The end is accepted, too."""
        self._pipes = pipes or InputPipes(-1, -1, -1)
        self._handle = handle
        self._on_end = on_end
        self._closed: JobError | None = None
        self._sender: Sender | None = None
        self._changed = trio.Event()
        self._open = pipes is not None
        self._note: Note | None = None
        self._held = 0
        """Bytes in our pipe."""
        try:
            self._note = Note(directory)
            self._restore(*self._note.read())
        except (OSError, ValueError) as error:
            # The job must not read an end that nobody has sent, so it is left waiting.
            say(f"the input of job {handle}: {error}")
            why = f"how much input job {handle} has had is not known"
            self._closed = Precondition("STDIN_CLOSED", why)
        if pipes is None:
            self._close(f"job {handle} takes no more input")

    def _restore(self, phase: Phase, accepted: int) -> None:
        self._held = _bytes_in(self._pipes.read_fd) if self._open else 0
        self.accepted = accepted + (self._held if phase is Phase.WRITING else 0)
        self.ended = phase is Phase.ENDED
        if phase is Phase.WRITING:  # before any of it is moved on
            self._written().write(Phase.ACCEPTED, self.accepted)

    def _written(self) -> Note:
        assert self._note is not None  # else it is closed
        return self._note

    @property
    def closed(self) -> bool:
        """Is nothing more accepted?"""
        return self.ended or self._closed is not None

    def claim(self) -> Sender:
        """The caller is the sender from now on, and who was it before is not. No checkpoint.

        One that was cut off may hold its place for long, and offsets keep two apart, so the
        newest has it. Raises Precondition STDIN_CLOSED, unless the end is accepted.
        """
        if self._closed is not None and not self.ended:
            raise self._closed
        if self._sender is not None:
            text = f"somebody else sends the input of job {self._handle} now"
            self._sender.end(InputTakenOver(text))
        self._sender = Sender()
        return self._sender

    def leave(self, sender: Sender) -> None:
        """It sends no more."""
        if self._sender is sender:
            self._sender = None

    async def take(self, offset: int, data: bytes, *, end: bool = False) -> None:
        """Returns when all of it is accepted: byte ``offset`` of the input and those after it,
        and its end. Only the sender's task calls it.

        Waits while the job does not read. Bytes that are accepted already are skipped. Raises
        InputGap, and Precondition STDIN_CLOSED if more comes after the end, or the job has
        closed it or ended. Cancelled: some are accepted; ``accepted`` says how many.

        Cancellation: minimum cleanup; C19.
        """
        await trio.lowlevel.checkpoint()
        until = offset + len(data)
        if offset > self.accepted:
            text = f"input is accepted up to byte {self.accepted}, and this begins at {offset}"
            raise InputGap(text, self.accepted)
        if end and until < self.accepted:
            text = f"input is accepted up to byte {self.accepted}; it cannot end at {until}"
            raise InputGap(text, self.accepted)
        while self.accepted < until or (end and not self.ended):
            if self._closed is not None:
                raise self._closed
            if self.ended:
                text = f"the end of the input of job {self._handle} was sent before"
                raise Precondition("STDIN_CLOSED", text)
            if self.accepted == until:
                self._accept_end()
            elif self._held == 0:
                self._accept(data[self.accepted - offset :])
            else:
                await self._wait_changed()

    async def run(self) -> None:
        """Moves on what is accepted, until there is nothing more to come. Minimum cleanup:
        what our pipe holds stays there, for whoever comes next.

        Cancellation: minimum cleanup; C20.
        """
        self._move()
        while self._closed is None:
            if self._held:
                with contextlib.suppress(trio.ClosedResourceError):  # by ``close``
                    await trio.lowlevel.wait_writable(self._pipes.job_fd)
                self._move()
            else:
                await self._wait_changed()

    def close(self, why: str) -> None:
        """Frees all descriptors; the job may still have its end. Idempotent. No checkpoint."""
        self._close(why)

    async def _wait_changed(self) -> None:
        await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _accept(self, data: bytes) -> None:
        note = self._written()
        try:
            note.write(Phase.WRITING, self.accepted)
            self._held = os.write(self._pipes.write_fd, data)
            self.accepted += self._held
            note.write(Phase.ACCEPTED, self.accepted)
        except OSError as error:  # a failing disk; what is accepted is as the note has it
            say(f"the input of job {self._handle}: {error}")
            self._close(f"the input of job {self._handle} cannot be recorded any more")
            return
        self._move()
        self._tell()

    def _accept_end(self) -> None:
        try:
            self._written().write(Phase.ENDED, self.accepted)
        except OSError as error:
            say(f"the input of job {self._handle}: {error}")
            self._close(f"the input of job {self._handle} cannot be recorded any more")
            return
        self.ended = True
        self._move()

    def _move(self) -> None:
        """As much as the job's pipe has room for; and the end, after everything."""
        if self._closed is not None:
            return
        while self._held:
            try:
                moved = os.splice(
                    self._pipes.read_fd,
                    self._pipes.job_fd,
                    _MOVE_BYTES,
                    flags=os.SPLICE_F_NONBLOCK,
                )
            except BlockingIOError:
                return
            except OSError:  # EPIPE: nobody can read it any more
                self._close(f"job {self._handle} has closed its input")
                return
            self._held -= moved
        self._tell()
        if self.ended:
            self._close(f"the end of the input of job {self._handle} was sent before")
            self._on_end()

    def _close(self, why: str) -> None:
        if self._closed is None:
            self._closed = Precondition("STDIN_CLOSED", why)
        if self._open:
            self._open = False
            trio.lowlevel.notify_closing(self._pipes.job_fd)
            for fd in (self._pipes.job_fd, self._pipes.read_fd, self._pipes.write_fd):
                os.close(fd)
        if self._note is not None:
            self._note.close()
            self._note = None
        if self._sender is not None and not self.ended:
            self._sender.end(self._closed)
        self._tell()


def _bytes_in(pipe_fd: int) -> int:
    """FIONREAD of pipe(7)."""
    return int(struct.unpack("i", fcntl.ioctl(pipe_fd, termios.FIONREAD, b"\0" * 4))[0])
