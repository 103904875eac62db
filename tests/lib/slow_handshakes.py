"""A relay on loopback that makes a server far away: every byte is held for half a round trip.

Many kernels have no netem. The connection to the server is made at once and the first byte
comes half a round trip later, so a client behind it is silent for so long, as one is whose
first packet gets lost.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from math import inf

import trio

_READ_BYTES = 65_536


async def _pass(source: trio.SocketStream, sink: trio.SocketStream, delay_s: float) -> None:
    """Until ``source`` ends, and then the end is passed on as late as everything."""
    send, receive = trio.open_memory_channel[tuple[float, bytes]](inf)

    async def read() -> None:
        async with send:
            while True:
                try:
                    data = await source.receive_some(_READ_BYTES)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
                send.send_nowait((trio.current_time() + delay_s, data))
                if not data:
                    return

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for due, data in receive:
                await trio.sleep_until(due)
                if data:
                    await sink.send_all(data)
                else:
                    await sink.send_eof()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def far_away(server_port: int, round_trip_s: float) -> AsyncIterator[int]:
    """The port at which a server of 127.0.0.1 answers after ``round_trip_s``."""

    async def serve(client: trio.SocketStream) -> None:
        try:
            server = await trio.open_tcp_stream("127.0.0.1", server_port)
        except OSError:
            await client.aclose()
            return
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(_pass, client, server, round_trip_s / 2)
            nursery.start_soon(_pass, server, client, round_trip_s / 2)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, [listener])
        try:
            yield listener.socket.getsockname()[1]
        finally:
            nursery.cancel_scope.cancel()
