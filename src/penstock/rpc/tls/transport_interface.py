"""What a connection asks of the bytes below it. Servers and clients have TlsTransport there."""

from collections.abc import Iterable
from typing import Protocol


class TransportLost(Exception):
    """The peer is gone, or TLS broke. ``during_tls``: it was TLS that refused.

    ``kind`` is for counters.
    """

    def __init__(self, message: str, *, during_tls: bool = False, kind: str = "lost") -> None:
        super().__init__(message)
        self.during_tls = during_tls
        self.kind = kind


class WriteStalled(Exception):
    """The peer has read nothing for the time allowed."""


class Transport(Protocol):
    """What a connection asks of the bytes below it; see TlsTransport for what each does.

    A seam: a simulation has other bytes below the same connection.
    """

    def peer_certificate(self) -> bytes:
        """The peer's certificate in DER."""
        ...

    def peer_issuers(self) -> tuple[bytes, ...]:
        """What else the peer has sent, each in DER: certificates of CAs."""
        ...

    async def receive(self) -> bytes:
        """Cancellation: atomic; C2."""
        ...

    async def send(self, parts: Iterable[bytes | bytearray | memoryview], stall_s: float) -> None:
        """Cancellation: minimum cleanup; C2."""
        ...

    def send_nowait(self, data: bytes | bytearray) -> None:
        """Sends what the socket takes at once, and drops the rest: last words."""
        ...

    async def linger(self) -> None:
        """Cancellation: minimum cleanup."""
        ...

    def peer_has_closed(self) -> bool:
        """Whether nothing more will come than what has arrived, which may not be read yet."""
        ...

    def close(self) -> None:
        """Closes the socket at once, whatever is still to be read or sent."""
        ...
