"""Lines of a log on a descriptor that others share: writing one never blocks, and never kills us.

Standard error comes from the process that started us: a terminal, a pipe to a collector, a socket
of the journal, a file. Its reader may be gone, stand still or be slow, its disk may be full. A line
that cannot be written now is dropped and counted, and the count is written once there is room
again. Otherwise a reader of the log that stands still would make this process stand still.

Both sides use this: the supervisor for its own lines and the server's (log_relay.py), the server
for the pipe to the supervisor, and the library for whatever standard error its process has.
"""

import errno
import io
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import Final

# A write of at most so many bytes to a pipe is done as a whole or not at all (pipe(7)), so that
# lines of other processes do not land within ours. As much also fits where poll(2) reports room.
LINE_BYTES: Final = 4096
_CUT: Final = " [cut]"


class LineWriter:
    """Lines to one descriptor, which stays as it is.

    O_NONBLOCK is never set, because that would be for all processes that have the same open file,
    such as the shell that started this one.
    """

    def __init__(self, fd: int, name: str) -> None:
        """``name`` begins the line that reports lost ones."""
        self.lost = 0
        """Lines that were dropped and not reported yet."""
        self._fd = fd
        self._name = name
        self._torn = False

    def write(self, text: str) -> None:
        """Writes one line of at most LINE_BYTES, whatever is in the text. Raises nothing.

        What is not printable is escaped, because a peer's words must not look like lines of ours.
        """
        if not (self.tell_lost() and self._written(_line(text))):
            self.lost += 1

    def tell_lost(self) -> bool:
        """Reports how many lines were lost, if any, and if there is room. Are all reported now?"""
        if self.lost:
            lines = "line" if self.lost == 1 else "lines"
            text = f"{self._name}: {self.lost} {lines} lost, as nobody took them"
            if self._written(_line(text)):
                self.lost = 0
        return not self.lost

    def _written(self, line: bytes) -> bool:
        data = b"\n" + line if self._torn else line
        try:
            done = _put(self._fd, data)
        except OSError:  # the reader is gone, the disk full, the terminal hung up, or it is closed
            return False
        # A full disk may take the first half of a line, so the next one begins with a line end.
        self._torn = (0 < done < len(data)) or (self._torn and done == 0)
        return done == len(data)


class LineStream(io.TextIOBase):
    """In place of sys.stderr, so that what Python itself prints, tracebacks and warnings, goes the
    same way."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write_line = write_line
        self._begun = ""

    def writable(self) -> bool:
        """As in io.IOBase."""
        return True

    def write(self, text: str) -> int:
        """As in io.TextIOBase; what is not a whole line yet waits for its rest."""
        *lines, self._begun = (self._begun + text).split("\n")
        if len(self._begun) > LINE_BYTES:
            lines.append(self._begun)
            self._begun = ""
        for line in lines:
            self._write_line(line)
        return len(text)


def _line(text: str) -> bytes:
    # Only so much is escaped, because the rest is cut anyway, and a megabyte would take its time.
    shown = "".join(
        char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:LINE_BYTES]
    )
    data = shown.encode()
    if len(text) > LINE_BYTES or len(data) >= LINE_BYTES - 1:  # one for a torn line's end
        room = LINE_BYTES - 2 - len(_CUT)
        data = data[:room].decode(errors="ignore").encode() + _CUT.encode()
    return data + b"\n"


def _put(fd: int, data: bytes) -> int:
    """Writes without ever waiting. Returns how many bytes were taken. Raises OSError."""
    # Looked at each time, because a program that uses the library may put another file there.
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return _to_pipe(fd, data)
    if stat.S_ISSOCK(mode):
        return _to_socket(fd, data)
    if os.isatty(fd):
        return _to_terminal(fd, data)
    return os.write(fd, data)  # a file or a null device, which have no reader


def _to_pipe(fd: int, data: bytes) -> int:
    """Writes only when poll reports room. Raises OSError.

    Another process may take that room in the same moment, so the write is told not to wait, which
    pipes understand since Linux 6.4.
    """
    if not _has_room(fd):
        return 0
    try:
        return os.pwritev(fd, [data], -1, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    return os.write(fd, data)


def _to_socket(fd: int, data: bytes) -> int:
    """Sends without waiting and without SIGPIPE. Raises OSError."""
    connection = socket.socket(fileno=fd)
    try:
        return connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    finally:
        connection.detach()


def _to_terminal(fd: int, data: bytes) -> int:
    """Writes by an open file of our own, which may have O_NONBLOCK. Raises OSError.

    A terminal that its user has stopped (^S), or whose emulator reads nothing, takes a part of a
    line and then lets the writer wait; poll only reports that there is room for something.
    """
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        own_fd = os.open(f"/proc/self/fd/{fd}", flags)
    except PermissionError:  # the terminal belongs to another user, as after su(1)
        return os.write(fd, data) if _has_room(fd) else 0
    try:
        return os.write(own_fd, data)
    finally:
        os.close(own_fd)


def _has_room(fd: int) -> bool:
    """Is there room now? Raises OSError where there will never be any: a write would be SIGPIPE."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    events = sum(event for _, event in poll.poll(0))
    if events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
    return bool(events & select.POLLOUT)
