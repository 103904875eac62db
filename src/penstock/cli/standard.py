"""Standard output and error: what they do not take is remembered, and raised only where asked.

A verb that acts (start, stop) says what it does with ``say``, which never fails: a reader who
has gone must not keep a job from being stopped. Whoever runs the verb looks at ``OUT.failure``
afterwards. A verb that is about output (stream, run) uses ``writing.write``, which raises.
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
        """Nobody reads any more, as behind ``| head``; anything else is a fault."""
        self.hung_up = terminal and error.errno == errno.EIO
        """It was a terminal, and that is gone."""


class Place:
    """Where a descriptor's text lands: one terminal, file or pipe, though two descriptors write
    there. Our own messages begin on a line of their own in it, whatever a job left unfinished.
    """

    def __init__(self) -> None:
        self.line_open = False
        """Something stands on the last line, whose end has not come."""
        self.line_breaks = 0
        """How often a message of ours has ended such a line, so that who wrote it can tell."""

    def wrote(self, data: "ReadableBuffer") -> None:
        """This was written there."""
        end = memoryview(data)[-1:]
        if end:
            self.line_open = bytes(end) != b"\n"

    def disturbed(self) -> None:
        """A terminal has shown something by itself, such as ^C."""
        self.line_open = True

    def end_line(self) -> str:
        """What is to be written before a message of ours, which ends the line that is open."""
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
        """Whether somebody's terminal is at the other end; looked at once, while it is there."""
        return os.isatty(self.fd)

    @property
    def columns(self) -> int:
        """How wide that terminal is now; 80 where it does not say."""
        try:
            return os.get_terminal_size(self.fd).columns or 80
        except OSError:
            return 80

    def send(self, data: bytes) -> None:
        """All of ``data``, however long that takes. Raises OutputFailed, and again each time."""
        if self.failure is not None:
            raise self.failure
        view = memoryview(data)
        try:
            while view:
                try:
                    count = os.write(self.fd, view)
                    self.place.wrote(view[:count])
                    view = view[count:]
                except BlockingIOError:  # whoever shares the descriptor has set O_NONBLOCK
                    select.select((), (self.fd,), ())
        except OSError as error:
            self.failure = OutputFailed(self.name, error, terminal=self.terminal)
            raise self.failure from error


OUT: Final = Descriptor(1, "standard output")
ERR: Final = Descriptor(2, "standard error")


def say(text: str) -> None:
    """One line on standard output, seen at once also through a pipe. Never fails."""
    sys.stdout.write(f"{text}\n")


def complain(text: str) -> None:
    """A message of ours on standard error, on a line of its own. Never fails."""
    sys.stderr.write(f"{ERR.place.end_line()}{text}\n")


def encoded(text: str) -> bytes:
    """For standard output; what its encoding lacks is a visible escape."""
    return text.encode(sys.stdout.encoding, "backslashreplace")


def prepare() -> None:
    """Makes the three descriptors, ``sys.stdin``, ``sys.stdout`` and ``sys.stderr`` safe to use.

    Called once, before anything else opens a descriptor. One that is closed would be given to
    the next file or socket, which would then be written to as if it were standard output. As
    glibc does for set-user-ID programs, it is opened the wrong way round: using it fails. But
    whoever closes standard error wants none of it, which is no failure.
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
    _ = OUT.terminal, ERR.terminal  # a terminal that is closed later is none any more
    sys.stdout = _text(OUT, sys.stdout)
    sys.stderr = _text(ERR, sys.stderr)


def _same_file(one: int, other: int) -> bool:
    """Whether what is written to both comes out at one place: the terminal, or a 2>&1."""
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
    """Takes everything; what the descriptor did not take is in its ``failure``."""

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
