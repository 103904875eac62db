"""Descriptors that a command line writes to: a failed write is remembered, and raised only where
asked.

Those of this process are ``OUT`` and ``ERR``; a process that runs command lines for others has
more (``handed_output``). ``invocation.current`` decides which ones are meant.
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

    from .invocation import Output


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
    """A descriptor to write to, and what is known of its other end. ``failure`` is the first one;
    after it nothing is written."""

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


class StandardDescriptor(Descriptor):
    """One of this process's own. A write waits until all of it is taken."""

    def __init__(self, fd: int, name: str, stream: str) -> None:
        """``stream``: the name of its text in ``sys``."""
        super().__init__(fd, name)
        self._stream = stream

    @property
    def text(self) -> TextIO:
        """Takes text for it; ``preparing.prepare`` makes it one whose writes never fail."""
        stream: TextIO = getattr(sys, self._stream)
        return stream

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


OUT: Final = StandardDescriptor(1, "standard output", "stdout")
ERR: Final = StandardDescriptor(2, "standard error", "stderr")


class ForgivingStream(io.RawIOBase):
    """A stream whose writes never fail; a failed one is in the output's ``failure``."""

    def __init__(self, output: "Output") -> None:
        self._output = output

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The output's descriptor."""
        return self._output.fd

    def isatty(self) -> bool:
        """Whether the output is a terminal."""
        return self._output.terminal

    def write(self, data: "ReadableBuffer", /) -> int:
        """Writes all of it, or notes why that failed."""
        taken = bytes(data)
        with contextlib.suppress(OutputFailed):
            self._output.send(taken)
        return len(taken)
