"""What a job reads: bytes of its owner, each taken once, though server or sender die meanwhile.

Two pipes and a note. What is accepted is written into a pipe of the server's own, which the
supervisor holds too, and forwarded into the job's (splice(2), so that no byte is ever nowhere or
twice); while the job does not read, it waits there, and so does its sender. The note, one small
write to a file, records how much was accepted. Two system calls cannot happen as one, so the note
is written twice: before bytes are written into the server's pipe, which is empty then, and again
before any of them is forwarded. A server that takes the job over finds either "writing from a":
then all that is in the pipe came after byte a; or "accepted up to b". Either is exact.
"""

import contextlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from ..concurrency.interrupts import uninterrupted_methods
from .backends.base import InputPipes
from .input_note import NOBODY, Note, Phase, Written, sender_number
from .job_errors import InputGap, InputTakenOver, JobError, Precondition
from .output.disk import Disk, RealDisk
from .reporting import say

_MOVE_BYTES: Final = 1 << 20

T = TypeVar("T")


@uninterrupted_methods
class Sender:
    """The one caller that sends a job's input now. ``error`` is why it may not any more."""

    def __init__(self, number: int) -> None:
        self.number = number
        """The number by which the note names it (sender_number)."""
        self.error: JobError | None = None
        self._scope: trio.CancelScope | None = None

    async def wait(self, what: Callable[..., Awaitable[T]], *args: object) -> T:
        """What ``what`` returns. Raises ``error`` as soon as there is one, also while it waits,
        because a sender that was replaced must not wait for a job that does not read.

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
        """From now on it may not send. The first error counts. No checkpoint."""
        self.error = self.error or error
        if self._scope is not None:
            # Cancels S3.sender.
            self._scope.cancel()


@uninterrupted_methods
class JobInput:
    """The input of one job. It owns the pipes until ``close``."""

    def __init__(
        self,
        pipes: InputPipes | None,
        directory: str | None,
        handle: str,
        on_end: Callable[[], None],
        disk: Disk | None = None,
    ) -> None:
        """Resumes where the note in ``directory``, the job's, says. ``pipes`` None: its end was
        forwarded before. ``on_end`` is called once no copy of the descriptors is left here and the
        job is to read the end. For ``directory`` None see ``of_ended``."""
        self.accepted = 0
        """Bytes that were accepted so far, in total."""
        self.ended = False
        """Whether the end is accepted, too."""
        self._disk: Disk = RealDisk() if disk is None else disk
        self._pipes = pipes or InputPipes(-1, -1, -1)
        self._handle = handle
        self._on_end = on_end
        self._closed: JobError | None = None
        self._sender: Sender | None = None
        self._changed = trio.Event()
        self._open = pipes is not None
        self._broken = False
        """What was accepted last may not be on record, so its sender must not get a promise."""
        self._note: Note | None = None
        self._held = 0
        """Bytes in our pipe."""
        self._last = NOBODY
        """Number of the sender whose bytes were the last."""
        try:
            if directory is not None:
                self._note = Note(directory, self._disk)
                self._restore(self._note.read())
        except (OSError, ValueError) as error:
            # The job must not read an end that no sender has sent, so it is left waiting.
            say(f"the input of job {handle}: {error}")
            why = f"how much input job {handle} has had is not known"
            self._closed = Precondition("STDIN_CLOSED", why)
        if pipes is None:
            has_ended = "has ended" if directory is None else "takes no more input"
            self._close(f"job {handle} {has_ended}")

    @classmethod
    def of_ended(cls, handle: str, accepted: int, *, ended: bool) -> "JobInput":
        """The input of a job that has ended: it reports what was accepted, and takes nothing."""
        given = cls(None, None, handle, lambda: None)
        phase = Phase.ENDED if ended else Phase.ACCEPTED
        given._restore(Written(phase, accepted))
        return given

    def _restore(self, written: Written) -> None:
        writing = written.phase is Phase.WRITING
        self._held = (self._disk.waiting(self._pipes.read_fd) or 0) if self._open else 0
        self.accepted = written.accepted + (self._held if writing else 0)
        self.ended = written.phase is Phase.ENDED
        self._last = written.sender
        if writing:  # before any of it is forwarded
            self._write_down(Phase.ACCEPTED)

    def _write_down(self, phase: Phase) -> None:
        """Writes how much is accepted into the note. Raises OSError."""
        assert self._note is not None  # else it is closed
        self._note.write(Written(phase, self.accepted, self._last))

    @property
    def closed(self) -> bool:
        """Whether nothing more is accepted: its end was, or the job cannot take any."""
        return self.ended or self._closed is not None

    def claim(self, name: str = "", *, goes_on: bool = False) -> Sender:
        """The caller is the only sender from now on; the one before gets an error. No checkpoint.

        A sender that was cut off may hold its place for long, so the newest has it. A caller that
        ``goes_on`` was the sender of this ``name`` before: raises InputTakenOver if bytes of
        another were accepted since, because by their offsets alone they would pass for its own.
        Raises Precondition STDIN_CLOSED, unless the end is accepted.
        """
        number = sender_number(name or secrets.token_hex(16))
        if goes_on and self._last not in (NOBODY, number):
            text = f"somebody else has sent input to job {self._handle} meanwhile"
            raise InputTakenOver(text)
        if self._closed is not None and not self.ended:
            raise self._closed
        if self._sender is not None:
            self._sender.end(self._taken_over())
        self._sender = Sender(number)
        return self._sender

    def _taken_over(self) -> InputTakenOver:
        return InputTakenOver(f"somebody else sends the input of job {self._handle} now")

    def leave(self, sender: Sender) -> None:
        """This sender sends no more, so its place is free; no error if it was replaced."""
        if self._sender is sender:
            self._sender = None

    async def take(self, offset: int, data: bytes, *, end: bool = False) -> None:
        """Returns when all of it is accepted: byte ``offset`` of the input and those after it,
        and its end. Only the sender's task calls it.

        Waits while the job does not read. Bytes that are accepted already are skipped. Raises
        InputGap, InputTakenOver, and Precondition STDIN_CLOSED if more comes after the end, or the
        job has closed it or ended. Cancelled: some are accepted; ``accepted`` says how many.

        Cancellation: minimum cleanup; C19.
        """
        sender = self._sender
        await trio.lowlevel.checkpoint()
        self._check(sender)
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
                if self._broken:  # no promise that is not on record
                    assert self._closed is not None
                    raise self._closed
            else:
                await self._wait_changed()
                self._check(sender)

    def _check(self, sender: Sender | None) -> None:
        """After each checkpoint, because a sender that is woken by room may have been replaced in
        the same moment: its cancellation comes with its next checkpoint, after more bytes."""
        if self._sender is not sender:
            raise self._taken_over()

    async def run(self) -> None:
        """Forwards what is accepted, until there is nothing more to come. Minimum cleanup:
        what our pipe holds stays there, for the next server.

        No checkpoint if its input is closed as it is called.

        Cancellation: minimum cleanup; C20.
        """
        self._move()
        while self._closed is None:
            if self._held:
                with contextlib.suppress(trio.ClosedResourceError):  # by ``close``
                    await self._disk.wait_writable(self._pipes.job_fd)
                self._move()
            else:
                await self._wait_changed()

    def close(self, why: str) -> None:
        """Frees all descriptors; its sender gets Precondition STDIN_CLOSED with ``why``. The job
        may have its end still to read. Idempotent. No checkpoint."""
        self._close(why)

    async def _wait_changed(self) -> None:
        await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _accept(self, data: bytes) -> None:
        self._last = NOBODY if self._sender is None else self._sender.number
        try:
            self._write_down(Phase.WRITING)
            self._held = self._disk.fill(self._pipes.write_fd, data)
            self.accepted += self._held
            self._write_down(Phase.ACCEPTED)
        except OSError as error:  # a failing disk; what is accepted is as the note has it
            say(f"the input of job {self._handle}: {error}")
            self._broken = True
            self._close(f"the input of job {self._handle} cannot be recorded any more")
            return
        self._move()
        self._tell()

    def _accept_end(self) -> None:
        self._last = NOBODY if self._sender is None else self._sender.number
        try:
            self._write_down(Phase.ENDED)
        except OSError as error:
            say(f"the input of job {self._handle}: {error}")
            self._close(f"the input of job {self._handle} cannot be recorded any more")
            return
        self.ended = True
        self._move()

    def _move(self) -> None:
        """Forwards as much as the job's pipe has room for; and the end, after everything."""
        if self._closed is not None:
            return
        while self._held:
            try:
                moved = self._disk.forward(self._pipes.read_fd, self._pipes.job_fd, _MOVE_BYTES)
            except BlockingIOError:
                return
            except OSError:  # EPIPE: no process can read it any more
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
            for fd in (self._pipes.job_fd, self._pipes.read_fd, self._pipes.write_fd):
                self._disk.close_pipe(fd)
        if self._note is not None:
            self._note.close()
            self._note = None
        if self._sender is not None and not self.ended:
            self._sender.end(self._closed)
        self._tell()
