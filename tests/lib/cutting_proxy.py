"""A TCP proxy on loopback that cuts connections after a random number of bytes."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import trio

_READ_BYTES = 65_536
# l_onoff, l_linger: closing sends a reset (socket(7)).
_RESET = struct.pack("ii", 1, 0)


@dataclass
class CuttingProxy:
    """Passes bytes on between its port and a server's, cutting the first ``cuts`` connections.

    Each may carry so many bytes to the client that ``random`` gives below ``most_bytes``; some
    of them none, which is in the middle of the handshake. Half of the cuts are resets.
    """

    server_port: int
    random: Random
    cuts: int
    most_bytes: int
    first_bytes: int = 20_000
    """Of the connection that is cut first: enough to be one, as that is not tried again."""
    port: int = 0
    done: int = 0
    """Cuts so far."""

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection, to its end."""
        budget = None
        if self.done < self.cuts:
            # In the handshake, or soon after it, a sixth of the time each.
            most = self.random.choice([1, 5_000, *[self.most_bytes] * 4])
            budget = self.random.randrange(most)
            if self.done == 0:
                budget = self.first_bytes
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self.server_port)
        except OSError:  # as seen through a router: the server is away
            await client.aclose()
            return
        async with client, server:
            async with trio.open_nursery() as nursery:
                scope = nursery.cancel_scope
                nursery.start_soon(self._pass, client, server, None, scope)
                nursery.start_soon(self._pass, server, client, budget, scope)
            if self.random.random() < 0.5:
                for stream in (client, server):
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    async def _pass(
        self,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        budget: int | None,
        both: trio.CancelScope,
    ) -> None:
        try:
            while True:
                data = await source.receive_some(_READ_BYTES)
                if budget is not None:
                    cut = len(data) >= budget
                    data, budget = data[:budget], budget - len(data)
                    if data:
                        await sink.send_all(data)
                    if cut:
                        self.done += 1
                        break
                elif data:
                    await sink.send_all(data)
                if not data:
                    break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one side has gone: the other one follows
        both.cancel()


@asynccontextmanager
async def cutting_proxy(
    server_port: int, random: Random, *, cuts: int, most_bytes: int
) -> AsyncIterator[CuttingProxy]:
    """In front of a server of 127.0.0.1, until the block ends."""
    proxy = CuttingProxy(server_port, random, cuts, most_bytes)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy.port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, proxy.serve, [listener])
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
