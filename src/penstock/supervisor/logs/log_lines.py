"""Lines of a log on a descriptor that is anybody's: writing one never blocks, ends or changes
anything.

Who started us has given us standard error: a terminal, a pipe to a collector, a socket of the
journal, a file. Its reader may be gone, stand still or be slow, its disk full. A line that cannot
be taken now is dropped and counted, and the count is told once there is room again.

Both sides use this: the supervisor for its own log and what the server says (log_relay.py), the
server for a pipe to the supervisor, and the library for whatever its process has.
"""

import errno
import io
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import Final

# A write of at most so many bytes to a pipe is done as a whole or not at all (pipe(7)): lines of
# others do not land within ours. It is also what fits where poll(2) says that there is room.
LINE_BYTES: Final = 4096
_CUT: Final = " [cut]"


class LineWriter:
    """Lines to one descriptor, which stays as it is: O_NONBLOCK would be that of everybody who
    has the same open file, such as the shell that started us.
    """

    def __init__(self, fd: int, name: str) -> None:
        """``name`` begins the line that tells of lost ones."""
        self.lost = 0
        """Lines that nobody has taken, and that were not told of yet."""
        self._fd = fd
        self._name = name
        self._torn = False

    def write(self, text: str) -> None:
        """One line of at most LINE_BYTES, whatever is in the text. Raises nothing.

        What is not printable is escaped, as a peer's words must not look like lines of ours.
        """
        if not (self.tell_lost() and self._written(_line(text))):
            self.lost += 1

    def tell_lost(self) -> bool:
        """Says how many lines were lost, if any, once there is room. Is none left to tell?"""
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
        except OSError:  # nobody reads, the disk is full, the terminal hung up, it is closed
            return False
        # A full disk may take the first half of a line: the next one begins on a line of its own.
        self._torn = (0 < done < len(data)) or (self._torn and done == 0)
        return done == len(data)


class LineStream(io.TextIOBase):
    """In place of sys.stderr: what Python itself prints, tracebacks and warnings, goes the same
    way."""

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
    # More than this is cut anyway, and escaping a megabyte would take its time.
    shown = "".join(
        char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:LINE_BYTES]
    )
    data = shown.encode()
    if len(text) > LINE_BYTES or len(data) >= LINE_BYTES - 1:  # one for a torn line's end
        room = LINE_BYTES - 2 - len(_CUT)
        data = data[:room].decode(errors="ignore").encode() + _CUT.encode()
    return data + b"\n"


def _put(fd: int, data: bytes) -> int:
    """Writes without ever waiting; how many bytes were taken. Raises OSError."""
    # Looked at each time: a process that has this as a library may put another file there.
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return _to_pipe(fd, data)
    if stat.S_ISSOCK(mode):
        return _to_socket(fd, data)
    if os.isatty(fd):
        return _to_terminal(fd, data)
    return os.write(fd, data)  # a file or a null device, which have no reader


def _to_pipe(fd: int, data: bytes) -> int:
    """Only when poll says that there is room; and, as others may write to the same pipe in that
    moment, told not to wait, which pipes understand since Linux 6.4. Raises OSError."""
    if not _has_room(fd):
        return 0
    try:
        return os.pwritev(fd, [data], -1, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
    return os.write(fd, data)


def _to_socket(fd: int, data: bytes) -> int:
    """Raises OSError."""
    connection = socket.socket(fileno=fd)
    try:
        return connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    finally:
        connection.detach()


def _to_terminal(fd: int, data: bytes) -> int:
    """Raises OSError.

    One that its user has stopped (^S), or whose emulator reads nothing, takes a part of a line and
    then lets the writer wait, and poll says only that there is room for something. So it is opened
    anew: an open file of our own, which may have O_NONBLOCK.
    """
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        own_fd = os.open(f"/proc/self/fd/{fd}", flags)
    except PermissionError:  # another user's, after su(1)
        return os.write(fd, data) if _has_room(fd) else 0
    try:
        return os.write(own_fd, data)
    finally:
        os.close(own_fd)


def _has_room(fd: int) -> bool:
    """Raises OSError where there will never be any: a write would raise SIGPIPE, too."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    events = sum(event for _, event in poll.poll(0))
    if events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
    return bool(events & select.POLLOUT)
