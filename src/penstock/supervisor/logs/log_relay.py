"""What the server writes on its standard output and error: read here, and put into our log.

The server has no descriptor of the log itself: a pipe that nobody reads, or a terminal that
stands still, would hold up every client, and peers without a certificate cause such lines.
"""

import os
from collections.abc import Callable
from typing import Final

from ..kernel.loop import READ, Loop
from .log_lines import LINE_BYTES

# As much as the pipe holds; others have their turn after that.
_AT_ONCE_BYTES: Final = 65536


class Relay:
    """The read end of one server's pipe. Each line that comes goes to ``write_line``."""

    def __init__(self, loop: Loop, write_line: Callable[[str], None]) -> None:
        self._loop = loop
        self._write_line = write_line
        self._fd = -1
        self._begun = b""

    def open(self) -> int:
        """For the next server: the write end, the caller's to close. Raises OSError.

        Neither end blocks: the server goes on when the supervisor stands still.
        """
        self.close()
        self._fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._loop.watch(self._fd, READ, self._readable)
        return write_fd

    def close(self) -> None:
        """The server has ended: what it has said last is written, and the pipe closed."""
        self.take()
        if self._fd >= 0:  # somebody else has its other end: nothing of that is ours
            self._end()

    def take(self) -> None:
        """What the server has said so far is written now, before a line of ours about it."""
        if self._fd >= 0:
            self._readable()

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _AT_ONCE_BYTES)
        except BlockingIOError:
            return
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > LINE_BYTES:
            lines.append(self._begun)
            self._begun = b""
        for line in lines:
            self._write_line(line.decode(errors="replace"))
        if not data:
            self._end()

    def _end(self) -> None:
        if self._begun:
            self._write_line(self._begun.decode(errors="replace"))
            self._begun = b""
        self._loop.forget(self._fd)
        os.close(self._fd)
        self._fd = -1
