"""One connection between accept and the end of its TLS handshake."""

import socket

import trio

from .pending_handshakes import source_of


class Arrival:
    """Whose handshake is not done. ``scope`` is that of its task, once it has one.

    ``late_at``, on Trio's clock, is when it must be done.
    """

    __slots__ = ("address", "late_at", "raw", "scope", "source")

    def __init__(
        self, raw: socket.socket, address: tuple[str, int, *tuple[object, ...]], late_at: float
    ) -> None:
        self.raw = raw
        self.address = address
        self.late_at = late_at
        self.source = source_of(address[0])
        self.scope: trio.CancelScope | None = None

    @property
    def text(self) -> str:
        """The peer's address, as in lines of log."""
        host, port = self.address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
