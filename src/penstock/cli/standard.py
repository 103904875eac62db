"""Standard output and error: a failed write is remembered, and raised only where asked.

A verb that acts (start, stop) reports by ``say``, which never fails, because a closed pipe must
not keep a job from being stopped. ``root.run`` checks ``OUT.failure`` afterwards. A verb that is
about output (stream, run) uses ``writing.write``, which raises.
"""

import contextlib
import errno
import io
import os
import select
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputFailed(Exception):
    """A standard descriptor did not take what was written to it."""

    def __init__(self, name: str, error: OSError, *, terminal: bool) -> None:
        super().__init__(f"{name} could not be written to: {error.strerror}")
        self.reader_left = isinstance(error, BrokenPipeError)
        """The pipe's reader has closed it, as behind ``| head``; anything else is a fault."""
        self.hung_up = terminal and error.errno == errno.EIO
        """The descriptor was a terminal, and that is gone."""


class Place:
    """Where a descriptor's text lands: one terminal, file or pipe, even if two descriptors write
    there. Our own messages begin on a line of their own in it, even if a job left one unfinished.
    """

    def __init__(self) -> None:
        self.line_open = False
        """Something stands on the last line, whose end has not come."""
        self.line_breaks = 0
        """How often a message of ours has ended such a line, so that the line's writer can tell."""

    def wrote(self, data: "ReadableBuffer") -> None:
        """Notes that ``data`` was written there, and whether it ends a line."""
        end = memoryview(data)[-1:]
        if end:
            self.line_open = bytes(end) != b"\n"

    def disturbed(self) -> None:
        """Notes that a terminal has shown something by itself, such as ^C."""
        self.line_open = True

    def end_line(self) -> str:
        """What to write before a message of ours: a line end if a line is open, otherwise ""."""
        if not self.line_open:
            return ""
        self.line_breaks += 1
        return "\n"


class Descriptor:
    """A descriptor to write to. ``failure`` is the first one; after it nothing is written."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        self.failure: OutputFailed | None = None
        self.place = Place()

    @cached_property
    def terminal(self) -> bool:
        """Whether a terminal is at the other end; checked once, because it may be closed later."""
        return os.isatty(self.fd)

    @property
    def columns(self) -> int:
        """The terminal's width now, in characters; 80 if it reports none."""
        try:
            return os.get_terminal_size(self.fd).columns or 80
        except OSError:
            return 80

    @property
    def lines(self) -> int:
        """The terminal's height now; 24 if it reports none."""
        try:
            return os.get_terminal_size(self.fd).lines or 24
        except OSError:
            return 24

    def send(self, data: bytes) -> None:
        """Writes all of ``data``; blocks until it is written. Raises OutputFailed, and each later
        call raises it again."""
        if self.failure is not None:
            raise self.failure
        view = memoryview(data)
        try:
            while view:
                try:
                    count = os.write(self.fd, view)
                    self.place.wrote(view[:count])
                    view = view[count:]
                except BlockingIOError:  # another process that shares it set O_NONBLOCK
                    select.select((), (self.fd,), ())
        except OSError as error:
            self.failure = OutputFailed(self.name, error, terminal=self.terminal)
            raise self.failure from error


OUT: Final = Descriptor(1, "standard output")
ERR: Final = Descriptor(2, "standard error")


def say(text: str) -> None:
    """Prints one line on standard output, at once even through a pipe. Never fails."""
    sys.stdout.write(f"{text}\n")


def complain(text: str) -> None:
    """Prints a message of ours on standard error, on a line of its own. Never fails."""
    sys.stderr.write(f"{ERR.place.end_line()}{text}\n")


def encoded(text: str) -> bytes:
    """Bytes for standard output; a character that its encoding lacks is a visible escape."""
    return text.encode(sys.stdout.encoding, "backslashreplace")


def prepare() -> None:
    """Makes the three descriptors, ``sys.stdin``, ``sys.stdout`` and ``sys.stderr`` safe to use.

    Call it once, before anything else opens a descriptor. Otherwise the kernel would give a closed
    one to the next file or socket, which would get what is meant for standard output. As glibc
    does for set-user-ID programs, we open it the wrong way round, so that using it fails. Not
    standard error, because a caller that closes it wants no messages, which is no failure.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd == 1 else os.O_WRONLY)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  # lives as long as the process
    if _same_file(OUT.fd, ERR.fd):
        ERR.place = OUT.place
    _ = OUT.terminal, ERR.terminal  # now, because a terminal that is closed later is none
    sys.stdout = _text(OUT, sys.stdout)
    sys.stderr = _text(ERR, sys.stderr)


def _same_file(one: int, other: int) -> bool:
    """Whether both descriptors write to one place: the terminal, or a 2>&1."""
    return os.path.sameopenfile(one, other)


def _text(descriptor: Descriptor, before: TextIO | None) -> io.TextIOWrapper:
    encoding = "utf-8" if before is None else before.encoding
    return io.TextIOWrapper(
        _Forgiving(descriptor),  # type: ignore[arg-type]  # as python -u does it
        encoding=encoding,
        errors="backslashreplace",
        newline="\n",
        write_through=True,
    )


class _Forgiving(io.RawIOBase):
    """A stream whose writes never fail; a failed one is in the descriptor's ``failure``."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor.fd

    def isatty(self) -> bool:
        return self._descriptor.terminal

    def write(self, data: "ReadableBuffer", /) -> int:
        taken = bytes(data)
        with contextlib.suppress(OutputFailed):
            self._descriptor.send(taken)
        return len(taken)
