"""What a connection asks of the bytes below it. Servers and clients have TlsTransport there."""

from collections.abc import Iterable
from typing import Protocol


class TransportLost(Exception):
    """The peer is gone, or TLS failed. ``during_tls``: the failure came from TLS itself.

    ``kind`` is for counters. ``certificates``: what a server had sent of them, in DER, its own
    first, where we have refused these; empty where that is not known. After it only ``close`` may
    be called.
    """

    def __init__(
        self,
        message: str,
        *,
        during_tls: bool = False,
        kind: str = "lost",
        certificates: tuple[bytes, ...] = (),
    ) -> None:
        super().__init__(message)
        self.during_tls = during_tls
        self.kind = kind
        self.certificates = certificates


class WriteStalled(Exception):
    """The peer has read nothing for the time that ``send`` allows, so its connection must end."""


class Transport(Protocol):
    """What a connection asks of the bytes below it; see TlsTransport for what each does.

    It is a seam, so that a simulation can put other bytes below the same connection.
    """

    def peer_certificate(self) -> bytes:
        """The peer's certificate in DER."""
        ...

    def peer_issuers(self) -> tuple[bytes, ...]:
        """The other certificates that the peer has sent, each in DER: those of CAs."""
        ...

    async def receive(self) -> bytes:
        """At most one record of data; ``b""`` at the peer's end. Raises TransportLost.

        Cancellation: atomic; C2.
        """
        ...

    async def send(self, parts: Iterable[bytes | bytearray | memoryview], stall_s: float) -> None:
        """Sends all of ``parts``. Raises TransportLost, or WriteStalled after ``stall_s`` seconds.

        Cancellation: minimum cleanup; C2.
        """
        ...

    def send_nowait(self, data: bytes | bytearray) -> None:
        """Sends what the socket takes at once, and drops the rest. Raises nothing."""
        ...

    async def linger(self) -> None:
        """Ends this side's half, and reads until the peer has ended its own.

        Cancellation: minimum cleanup.
        """
        ...

    def peer_has_closed(self) -> bool:
        """Whether the peer has ended its half; what arrived before may still be unread."""
        ...

    def close(self) -> None:
        """Closes the socket at once; bytes that wait to be read or sent are lost."""
        ...
