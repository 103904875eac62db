"""A connection between accept and the end of its TLS handshake, as the acceptor keeps it."""

import socket

import trio

from .pending_handshakes import source_of


class Arrival:
    """A connection whose handshake is not done. ``scope`` is its task's, once it has a task.

    ``late_at``, on Trio's clock, is the time by which the handshake must be done.
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
        """The peer's address in the form that log lines use."""
        host, port = self.address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
