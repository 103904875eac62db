"""The last words to peers whose connections are refused, which they must have the time to read.

A socket that is closed while bytes of the peer are unread sends a reset, and the peer's kernel then
drops what it has not read yet: the reason of the refusal.
"""

from collections.abc import Callable

import trio

from .http2.connection import Connection
from .limits import Limits
from .tls.transport_interface import Transport


class Lingering:
    """The connections of one server that are refused and not closed yet; ``count`` of them.

    ``refused`` is called with a kind and a text for each that is sent away, ``ended`` whenever one
    is done.
    """

    def __init__(
        self, limits: Limits, refused: Callable[[str, str], None], ended: Callable[[], object]
    ) -> None:
        self.count = 0
        self._limits = limits
        self._refused = refused
        self._ended = ended

    async def send_away(
        self, transport: Transport, address: str, kind: str, code: int, text: str
    ) -> None:
        """Sends, in the first bytes after TLS's own, a GOAWAY which says that no call was begun.

        So the client may repeat all of its calls on another connection.

        No checkpoint if too many connections linger already.

        Cancellation: minimum cleanup; C2.
        """
        self._refused(kind, f"connection from {address} refused: {text}")
        connection = Connection(self._limits, client_side=False)
        connection.start()
        connection.go_away(code, 0, text)
        transport.send_nowait(connection.take())
        await self.wait_read(transport)

    async def wait_read(self, transport: Transport) -> None:
        """Waits until the peer has read the last frames, unless too many connections do so.

        No checkpoint then.

        Cancellation: minimum cleanup; C2.
        """
        if self.count >= self._limits.lingering:
            return
        self.count += 1
        try:
            # Scope S2.refused.
            with trio.move_on_after(self._limits.linger_s):
                await transport.linger()
        finally:
            self.count -= 1
            self._ended()
