"""Work that may wait for a disk or another process, done in a child while the loop goes on.

The child is a fork, so it has all that the supervisor knows, and it gives back bytes and open
descriptors. It gets a bound. What it has done to the host by then must be nothing, because it may
be killed at any step.
"""

import array
import contextlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from .loop import READ, Loop, Timer
from .reap import disown, fork, reap_ended
from .system_calls import prctl

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
# A message takes at most SCM_MAX_FD, 253.
_MOST_AT_ONCE: Final = 200
_INT_BYTES: Final = array.array("i").itemsize


@dataclass(frozen=True, slots=True)
class WorkDone:
    """What came back; ``descriptors`` are the receiver's to close, in the order in which they were
    given. ``failure``: why nothing did; "" if all is there."""

    data: bytes = b""
    descriptors: tuple[int, ...] = ()
    failure: str = ""


Work = Callable[[], tuple[bytes, Sequence[int]]]


class ChildWork:
    """One piece of work under way. ``on_done`` is called once, at most ``bound_s`` later, and never
    from within the constructor; not at all after ``cancel``."""

    def __init__(
        self, loop: Loop, work: Work, bound_s: float, on_done: Callable[[WorkDone], None]
    ) -> None:
        self._loop = loop
        self._on_done: Callable[[WorkDone], None] | None = on_done
        self._bound_s = bound_s
        self._descriptors: list[int] = []
        self._pid = 0
        self._pidfd = self._memory = self._left = -1
        self._here: socket.socket | None = None
        self._timer: Timer | None = None
        try:
            self._start(work)
        except OSError as error:
            why = f"no process could be made for it: {error.strerror}"
            self._timer = loop.after(0, lambda: self._finish(why))

    @property
    def is_left(self) -> bool:
        """Does its process live though it took too long? KILL does not end one that waits for a
        disk, so nobody should make another one like it."""
        if self._left < 0:
            return False
        poll = select.poll()
        poll.register(self._left, select.POLLIN)
        if not poll.poll(0):
            return True
        os.close(self._left)
        self._left = -1
        return False

    def cancel(self) -> None:
        """Ends it, if it is under way; what it has given back is closed."""
        self._on_done = None
        self._finish("")

    def _start(self, work: Work) -> None:
        self._memory = os.memfd_create("work", os.MFD_CLOEXEC)
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._here.setblocking(False)
            parent = os.getpid()
            self._pid = fork()
            if self._pid == 0:
                _run(work, self._memory, there, parent)
        self._pidfd = os.pidfd_open(self._pid)
        self._loop.watch(self._here.fileno(), READ, self._ready)
        self._loop.watch(self._pidfd, READ, self._ended)
        self._timer = self._loop.after(self._bound_s, self._too_long)

    def _take(self) -> bool:
        """Takes descriptors that have come. False: there is nothing more to take now."""
        if self._here is None:
            return False
        space = socket.CMSG_SPACE(_MOST_AT_ONCE * _INT_BYTES)
        try:
            data, ancillary, flags, _ = self._here.recvmsg(1, space, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return False
        if not data:  # the child has closed its end, so it ends
            self._loop.forget(self._here.fileno())
            return False
        received = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received.frombytes(content[: len(content) - len(content) % _INT_BYTES])
        self._descriptors += received
        if flags & socket.MSG_CTRUNC:  # this process has no room for more
            self._finish("this process has no free file descriptors")
        return True

    def _ready(self) -> None:
        self._take()

    def _ended(self) -> None:
        while self._take():
            pass
        if self._pidfd < 0:  # it was finished meanwhile
            return
        self._loop.forget(self._pidfd)
        reap_ended(self._loop, self._pid, self._reaped)

    def _reaped(self, status: int | None, _: dict[str, float]) -> None:
        self._pid = 0
        if status == 0:
            self._finish("")
        else:
            self._finish("it has failed; the log of penstockd says why")

    def _too_long(self) -> None:
        self._finish(
            f"it took more than {self._bound_s:g} s, as when a disk or a directory service does "
            "not answer; try again when it does"
        )

    def _finish(self, failure: str) -> None:
        """Frees everything, and reports. May be called again, which does nothing."""
        if self._timer is not None:
            self._timer.cancel()
        if self._pidfd >= 0:
            if self._pid:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                disown(self._pid)
            self._loop.forget(self._pidfd)
            if self._pid:
                self._left = self._pidfd
            else:
                os.close(self._pidfd)
        elif self._pid:  # it could not be watched
            os.kill(self._pid, signal.SIGKILL)
            disown(self._pid)
        self._pid, self._pidfd = 0, -1
        if self._here is not None:
            self._loop.forget(self._here.fileno())
            self._here.close()
            self._here = None
        data = b""
        if self._memory >= 0:
            with os.fdopen(self._memory, "rb") as file:
                file.seek(0)
                data = b"" if failure else file.read()
            self._memory = -1
        descriptors, self._descriptors = tuple(self._descriptors), []
        on_done, self._on_done = self._on_done, None
        if on_done is None or failure:
            for fd in descriptors:
                os.close(fd)
            descriptors = ()
        if on_done is not None:
            on_done(WorkDone(data, descriptors, failure))


def _run(work: Work, memory: int, there: socket.socket, parent: int) -> NoReturn:
    """In the child."""
    status = 1
    try:
        # It must not outlive the supervisor, whose locks and sockets it would otherwise hold.
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # otherwise the supervisor was killed before that
            low, high = sorted((memory, there.fileno()))
            os.closerange(3, low)
            os.closerange(low + 1, high)
            os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
            data, descriptors = work()
            with os.fdopen(memory, "wb", closefd=False) as file:
                file.write(data)
            for begin in range(0, len(descriptors), _MOST_AT_ONCE):
                some = array.array("i", descriptors[begin : begin + _MOST_AT_ONCE])
                there.sendmsg([b"d"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, some)])
            status = 0
    except Exception:  # whatever it is, this process ends here
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(status)
