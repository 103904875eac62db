"""The log where it is a file: written by a process of its own, as a disk may stand still.

Theory of operation. Pipes, sockets and terminals can be asked whether they take a line now
(log_lines.py). A regular file always says yes, because O_NONBLOCK has no effect on it (open(2)),
and then the write waits for the disk; timers, deadlines, KILL and new connections would wait with
it. So standard error of the supervisor becomes a pipe, and a child writes what comes out of it into
the file. That pipe bounds what waits for the disk; a line that does not fit is dropped and counted,
as with any slow reader.

The child ends when the last process that can write into the pipe has ended, so that the last words
of a supervisor that was killed are in the file, too. A child that dies is followed by another, and
nothing is lost by that, because this process has the read end as well.
"""

import fcntl
import os
import select
import signal
import stat
from typing import Final, NoReturn

from ..kernel.loop import Loop
from ..kernel.reap import fork
from ..kernel.restarted_child import RestartedChild
from .log_lines import LineWriter
from .supervisor_log import log

# How long the end of this process waits for its last lines to be written. If the disk takes longer,
# they are written later, because the child outlives this process.
_END_S: Final = 2.0
# Between two tries to write how many lines were lost.
_TELL_LOST_MS: Final = 2000
_READ_BYTES: Final = 1 << 16


class LogFile:
    """Between ``start`` and ``end`` descriptor 2 is the pipe, if it was a file before."""

    def __init__(self, loop: Loop) -> None:
        self._file_fd = -1
        self._read_fd = -1
        self._writer = RestartedChild(
            loop, self._fork, lambda why: log(f"the process that writes the log {why}")
        )

    def start(self) -> None:
        """Puts the pipe in place of descriptor 2, and starts the child.

        Raises OSError if no pipe can be had; the log is as before then.
        """
        if not _may_stand_still(2):
            return
        self._file_fd = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
        try:
            # O_NONBLOCK is possible here, because the pipe is our own. LineWriter may not set it on
            # a descriptor that it was given.
            self._read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            os.close(self._file_fd)
            self._file_fd = -1
            raise
        os.set_blocking(self._read_fd, True)
        os.dup2(write_fd, 2)
        os.close(write_fd)
        self._writer.start()

    def end(self) -> None:
        """Makes descriptor 2 the file again, and waits until the child has written all lines.

        Waits for _END_S at most.
        """
        if self._file_fd < 0:
            return
        os.dup2(self._file_fd, 2)
        os.close(self._file_fd)
        os.close(self._read_fd)
        self._file_fd = self._read_fd = -1
        self._writer.end(_END_S)

    def _fork(self) -> int:
        pid = fork()
        if pid == 0:
            _run(self._read_fd, self._file_fd)
        return pid


def _may_stand_still(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def _run(read_fd: int, file_fd: int) -> NoReturn:
    """In the child. Never returns."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 5) for fd in (read_fd, file_fd)]
        for target, fd in enumerate((null, null, null, *high)):
            os.dup2(fd, target, inheritable=False)
        # The server's connection must end with the supervisor. The write end of the pipe, which was
        # at 2, must end with the processes that write, or this one would never see their end.
        os.closerange(5, os.sysconf("SC_OPEN_MAX"))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)  # so that the supervisor's end is logged, too
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        _write_lines(3, LineWriter(4, "penstockd"))
    finally:
        os._exit(0)


def _write_lines(read_fd: int, writer: LineWriter) -> None:
    """Writes lines until no process can write into the pipe any more.

    Lines that the file does not take are counted, and their number is written as soon as it does.
    """
    poll = select.poll()
    poll.register(read_fd, select.POLLIN)
    begun = b""
    while True:
        if not poll.poll(_TELL_LOST_MS if writer.lost else None):
            writer.tell_lost()
            continue
        data = os.read(read_fd, _READ_BYTES)
        *lines, begun = (begun + data).split(b"\n")
        if not data and begun:
            lines.append(begun)
        for line in lines:
            writer.write(line.decode(errors="replace"))
        if not data:
            return
