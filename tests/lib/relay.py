"""A TCP relay on loopback, between its own port and a server's; what it does to the bytes is for
cutting_proxy and delaying_relay to say."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import trio

READ_BYTES = 65_536


@dataclass
class Relay(ABC):
    """In front of a server of 127.0.0.1."""

    server_port: int
    port: int = field(default=0, init=False)
    """Its own, once it listens."""
    connections: int = field(default=0, init=False)

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection, to its end."""
        self.connections += 1
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self.server_port)
        except OSError:  # as seen through a router or a cable: the server is away
            await client.aclose()
            return
        async with client, server:
            await self.carry(client, server)

    @abstractmethod
    async def carry(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        """Both directions, until the connection is over."""


RelayT = TypeVar("RelayT", bound=Relay)


@asynccontextmanager
async def relaying(relay: RelayT) -> AsyncIterator[RelayT]:
    """It listens until the block ends; then its connections break."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    relay.port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, relay.serve, [listener])
        try:
            yield relay
        finally:
            nursery.cancel_scope.cancel()
