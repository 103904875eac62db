"""Standard input of a front end where it is a terminal: only the front end can read it, because the
agent is in no session of the terminal's, and it reads only what the agent has asked for.

Pipes and files are read here, by ``cli.handed_input``.
"""

import os
from collections.abc import Callable
from typing import Final

import trio

from .front_end_link import FrontEndGone
from .wire import READ

_ERRNO: Final = b"\1"


class FrontEndInput:
    """As ``cli.invocation.HostedInput`` has it. Takes the descriptor over."""

    def __init__(self, fd: int, send: Callable[[int, bytes], None]) -> None:
        """``fd``: the descriptor itself, from which nothing is taken here. ``send`` sends a
        message."""
        self._fd = fd
        self._send = send
        self._asked = False
        self._came: list[bytes] = []
        self._changed = trio.Event()

    def check(self) -> None:
        """Raises OSError if it cannot be read."""
        try:
            os.read(self._fd, 0)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard input") from error

    async def receive(self, count: int) -> bytes:
        """The next bytes, at most ``count``; b"" at the end. Raises OSError.

        Cancelled: what was asked for is given to the next caller.

        Cancellation: minimum cleanup.
        """
        await trio.lowlevel.checkpoint()
        if not self._asked and not self._came:
            self._asked = True
            try:
                self._send(READ, count.to_bytes(4, "big"))
            except FrontEndGone:
                await trio.sleep_forever()  # until we are cancelled, as its end is heard of
        while not self._came:
            await self._changed.wait()
        found = self._came.pop(0)
        if found[:1] == _ERRNO:
            number = int(found[1:])
            raise OSError(number, os.strerror(number), "standard input")
        return found[1:]

    def take(self, body: bytes) -> None:
        """DATA has come."""
        self._asked = False
        self._came.append(body)
        self._changed.set()
        self._changed = trio.Event()

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._fd)
