"""A TCP proxy on loopback that cuts connections after a random number of bytes."""

import socket
import struct
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random

import trio
from relay import READ_BYTES, Relay, relaying

# l_onoff, l_linger: closing sends a reset (socket(7)).
_RESET = struct.pack("ii", 1, 0)


@dataclass
class CuttingProxy(Relay):
    """Passes bytes on between its port and a server's, cutting the first ``cuts`` connections.

    Each may carry so many bytes to the client that ``random`` gives below ``most_bytes``; some
    of them none, which is in the middle of the handshake. Half of the cuts are resets.
    """

    random: Random
    cuts: int
    most_bytes: int
    first_bytes: int = 20_000
    """Of the connection that is cut first: enough to be one, as that is not tried again."""
    done: int = 0
    """Cuts so far."""

    async def carry(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        """Until either side has ended, or it is cut."""
        budget = None
        if self.done < self.cuts:
            # In the handshake, or soon after it, a sixth of the time each.
            most = self.random.choice([1, 5_000, *[self.most_bytes] * 4])
            budget = self.random.randrange(most)
            if self.done == 0:
                budget = self.first_bytes
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
                data = await source.receive_some(READ_BYTES)
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


def cutting_proxy(
    server_port: int, random: Random, *, cuts: int, most_bytes: int
) -> AbstractAsyncContextManager[CuttingProxy]:
    """In front of a server of 127.0.0.1, until the block ends."""
    return relaying(CuttingProxy(server_port, random, cuts, most_bytes))
