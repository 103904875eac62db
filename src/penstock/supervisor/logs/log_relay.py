"""What the server writes on its standard output and error: read here, and put into our log.

The server has no descriptor of the log itself, because a pipe that its reader has left, or a
terminal that stands still, would hold up every client, and peers without a certificate can cause
lines.
"""

import os
from collections.abc import Callable
from typing import Final

from ..kernel.loop import READ, Loop
from .log_lines import LINE_BYTES

# As much as the pipe holds. After that other events of the loop have their turn.
_AT_ONCE_BYTES: Final = 65536


class Relay:
    """The read end of one server's pipe. Each line that comes goes to ``write_line``."""

    def __init__(self, loop: Loop, write_line: Callable[[str], None]) -> None:
        self._loop = loop
        self._write_line = write_line
        self._fd = -1
        self._begun = b""

    def open(self) -> int:
        """The write end for the next server, which the caller has to close. Raises OSError.

        Neither end blocks, so that the server continues when the supervisor stands still.
        """
        self.close()
        self._fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._loop.watch(self._fd, READ, self._readable)
        return write_fd

    def close(self) -> None:
        """Writes the last lines of a server that has ended, and closes the pipe."""
        self.take()
        if self._fd >= 0:  # another process has the other end still; its lines are not the server's
            self._end()

    def take(self) -> None:
        """Writes what has come from the server so far, so that it precedes our line about it."""
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
