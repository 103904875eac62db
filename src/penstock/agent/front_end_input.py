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
        self._asked: int | None = None
        self._came: list[bytes] = []
        self._changed = trio.Event()

    async def check(self) -> None:
        """Raises OSError if it cannot be read. The front end tries it, because the kernel decides
        by who reads; and to read nothing here would wait, and every other front end with it, for as
        long as another process, such as a shell, reads that terminal.

        Cancellation: minimum cleanup.
        """
        await trio.lowlevel.checkpoint()
        await self._ask(0)
        while self._asked is not None:
            await self._changed.wait()
        if self._came:  # nothing but an error comes of it
            _checked(self._came.pop(0))

    async def receive(self, count: int) -> bytes:
        """The next bytes, at most ``count``; b"" at the end. Raises OSError.

        Cancelled: what was asked for is given to the next caller.

        Cancellation: minimum cleanup.
        """
        await trio.lowlevel.checkpoint()
        while not self._came:
            await self._ask(count)
            await self._changed.wait()
        return _checked(self._came.pop(0))

    async def _ask(self, count: int) -> None:
        if self._asked is not None or self._came:
            return
        self._asked = count
        try:
            self._send(READ, count.to_bytes(4, "big"))
        except FrontEndGone:
            await trio.sleep_forever()  # until we are cancelled, as its end is heard of

    def take(self, body: bytes) -> None:
        """DATA has come. Raises FrontEndGone if nothing was asked for."""
        if self._asked is None:
            raise FrontEndGone("input that was not asked for")
        # That nothing could be read is no end of what there is to read.
        if self._asked or body[:1] == _ERRNO:
            self._came.append(body)
        self._asked = None
        self._changed.set()
        self._changed = trio.Event()

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._fd)


def _checked(body: bytes) -> bytes:
    """What was read. Raises OSError."""
    if body[:1] == _ERRNO:
        number = int(body[1:])
        raise OSError(number, os.strerror(number), "standard input")
    return body[1:]
