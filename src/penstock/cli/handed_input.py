"""Standard input that a caller has handed to a host, to read."""

import os
import threading
from contextlib import suppress

import trio

from ..concurrency.own_thread import in_own_thread

_NAME = "standard input"


class NoInput:
    """That of a caller who gives none: it is at its end."""

    async def check(self) -> None:
        """It can be read.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()

    async def receive(self, count: int) -> bytes:  # noqa: ARG002  of every input
        """Nothing.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        return b""


class HandedInput:
    """A descriptor of a pipe, a socket or a file. Nothing is read before it is asked for, and
    nothing is asked for before something is there, because other processes with the same open file
    miss what is read too much."""

    def __init__(self, fd: int) -> None:
        """Takes ``fd`` over."""
        self.fd = fd
        self._lock = threading.Lock()
        self._reading = False
        self._closed = False

    async def check(self) -> None:
        """Raises OSError if it cannot be read.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        try:
            os.read(self.fd, 0)
        except OSError as error:
            raise OSError(error.errno, error.strerror, _NAME) from error

    async def receive(self, count: int) -> bytes:
        """The next bytes, at most ``count``; b"" at the end. Raises OSError.

        Cancelled: a thread may be left that waits for what another process has taken before.

        Cancellation: minimum cleanup; C19.
        """
        while True:
            with suppress(PermissionError):  # of a file, which cannot be waited for
                await trio.lowlevel.wait_readable(self.fd)
            try:
                return await in_own_thread(self._read, count)
            except BlockingIOError:  # another process took it first, and has set O_NONBLOCK
                continue

    def _read(self, count: int) -> bytes:
        with self._lock:
            if self._closed:
                return b""
            self._reading = True
        try:
            return os.read(self.fd, count)
        except OSError as error:
            raise OSError(error.errno, error.strerror, _NAME) from error
        finally:
            with self._lock:
                self._reading = False
                if self._closed:
                    os.close(self.fd)

    def close(self) -> None:
        """Closes the descriptor, once a read under way has ended. Call it in Trio's thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._reading:
                return
            trio.lowlevel.notify_closing(self.fd)
            os.close(self.fd)
