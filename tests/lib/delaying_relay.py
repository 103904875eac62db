"""A TCP relay on loopback that holds every byte for a time, each way: a long cable for tests.

Many kernels have no netem. The kernel on either side of the relay is as fast as ever, so what is
under way is as much as fits into the delay, as on a cable whose bandwidth is not the bottleneck.
"""

from collections import deque
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import trio
from relay import READ_BYTES, Relay, relaying

# A cable holds its bandwidth times its delay; this one 2.5 Gbit/s at 200 ms, and then it is full.
_MOST_HELD_BYTES = 64 * 2**20


@dataclass
class DelayingRelay(Relay):
    """Passes bytes on between its port and a server's, each ``delay_s`` after it has come.

    The end of either direction is passed on likewise.
    """

    delay_s: float

    async def carry(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        """Until both directions have ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_Direction(client, server, self.delay_s).run)
            nursery.start_soon(_Direction(server, client, self.delay_s).run)


class _Direction:
    """``None`` among what is under way is the end of the stream."""

    def __init__(self, source: trio.SocketStream, sink: trio.SocketStream, delay_s: float) -> None:
        self._source = source
        self._sink = sink
        self._delay_s = delay_s
        self._under_way: deque[tuple[float, bytes | None]] = deque()
        self._held = 0
        self._changed = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take)
            await self._give()
            # Whoever sends to somebody who has gone is not read any more.
            nursery.cancel_scope.cancel()

    async def _take(self) -> None:
        data: bytes | None = b""
        while data is not None:
            while self._held >= _MOST_HELD_BYTES:
                await self._changed.park()
            try:
                data = await self._source.receive_some(READ_BYTES) or None
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = None
            self._under_way.append((trio.current_time() + self._delay_s, data))
            self._held += len(data or b"")
            self._changed.unpark_all()

    async def _give(self) -> None:
        while True:
            while not self._under_way:
                await self._changed.park()
            due, data = self._under_way.popleft()
            await trio.sleep_until(due)
            try:
                if data is None:
                    await self._sink.send_eof()
                    return
                await self._sink.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            self._held -= len(data)
            self._changed.unpark_all()


def delaying_relay(server_port: int, delay_s: float) -> AbstractAsyncContextManager[DelayingRelay]:
    """In front of a server of 127.0.0.1, until the block ends; then its connections break."""
    return relaying(DelayingRelay(server_port, delay_s))
