"""The agent's end of the socket to one front end: messages, and the descriptors with GO."""

import array
import contextlib
import os
import socket
from collections import deque
from typing import Final

import trio

from .wire import WireError, WireReader, message

_RECEIVED_BYTES: Final = 64 * 1024
_DESCRIPTORS: Final = 4
"""Standard input, output and error, and the directory."""


class FrontEndGone(Exception):
    """The front end has ended, or sends nothing that we know."""


class FrontEndLink:
    """Made for each connection that was accepted. ``descriptors``: what came with it, which is
    closed by ``close`` unless it was taken."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._link = trio.socket.from_stdlib_socket(raw)
        self._reader = WireReader()
        self._messages: deque[tuple[int, bytes]] = deque()
        self.descriptors: list[int] = []

    async def receive(self) -> tuple[int, bytes]:
        """The next message. Raises FrontEndGone. No checkpoint where one is there already.

        Cancellation: atomic.
        """
        while not self._messages:
            try:
                data = await self._receive_some()
                if not data:
                    raise FrontEndGone("it has ended")
                self._messages.extend(self._reader.feed(data))
            except (OSError, WireError) as error:
                raise FrontEndGone(str(error)) from error
        return self._messages.popleft()

    async def _receive_some(self) -> bytes:
        size = array.array("i").itemsize
        # Always with room for them, because they would be open without our knowledge otherwise.
        data, ancillary, flags, _ = await self._link.recvmsg(
            _RECEIVED_BYTES, socket.CMSG_SPACE(_DESCRIPTORS * size), socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, rights in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                whole = len(rights) - len(rights) % size
                self.descriptors += array.array("i", rights[:whole])
        if flags & socket.MSG_CTRUNC or len(self.descriptors) > _DESCRIPTORS:
            raise WireError("other descriptors than those of a front end")
        return data

    def take_descriptors(self) -> list[int]:
        """Those that came, which are the caller's from now on. Raises FrontEndGone if they are not
        all there."""
        if len(self.descriptors) != _DESCRIPTORS:
            raise FrontEndGone(f"{len(self.descriptors)} descriptors came")
        taken, self.descriptors = self.descriptors, []
        return taken

    def send(self, kind: int, body: bytes = b"") -> None:
        """Sends a message that is small: one that does not find room at once finds a front end that
        has not read for hundreds of others. Raises FrontEndGone."""
        whole = message(kind, body)
        try:
            if self._raw.send(whole, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) == len(whole):
                return
        except OSError as error:
            raise FrontEndGone(str(error)) from error
        raise FrontEndGone("it does not read")

    def close(self) -> None:
        """Ends it."""
        self._link.close()
        for fd in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.descriptors = []
