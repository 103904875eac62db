"""Connections in memory that are late, short, silent or cut. TLS is left out: what is below it
and above it is real, and ``owner`` stands for the certificate.

Held to tests/rpc/test_transports.py, the same suite as the real one.
"""

import errno
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import trio

from penstock.rpc.call_errors import ConnectionLost
from penstock.rpc.tls.transport_interface import TransportLost, WriteStalled

from .process import Process

_ROOM = 65_536
_MOST = 16_384
_READS_PER_CHECKPOINT = 2

Accept = Callable[["Endpoint", str], Awaitable[None]]


class Way:
    """One direction: pieces with the time at which they arrive."""

    def __init__(self) -> None:
        self.pieces: deque[tuple[float, bytes]] = deque()
        self.bytes = 0
        self.ended = False
        """Nothing more is sent."""
        self.unread = False
        """Nobody reads it any more."""
        self.cut = False
        self.silent = False
        """What is sent is lost, and nobody is told."""
        self.changed = trio.lowlevel.ParkingLot()

    @property
    def full(self) -> bool:
        """Whoever writes waits for whoever reads."""
        return self.bytes >= _ROOM and not (self.cut or self.unread or self.silent)

    def break_off(self) -> None:
        self.cut = True
        self.pieces.clear()
        self.bytes = 0
        self.changed.unpark_all()


class Endpoint:
    """One side of a connection; the protocol Transport. ``process`` is a server's."""

    def __init__(
        self, network: "Network", owner: str, inward: Way, outward: Way, process: Process | None
    ) -> None:
        self._network = network
        self._owner = owner
        self._in = inward
        self._out = outward
        self._process = process
        self._closed = False
        self._reads = 0

    def peer_issuers(self) -> tuple[bytes, ...]:
        return ()

    def peer_certificate(self) -> bytes:
        return self._owner.encode()

    def _check(self) -> None:
        if self._process is not None:
            self._process.check()
        if self._closed:
            raise trio.ClosedResourceError("closed by somebody else")

    async def receive(self) -> bytes:
        self._check()
        self._reads += 1
        if self._reads >= _READS_PER_CHECKPOINT:
            self._reads = 0
            await trio.lowlevel.checkpoint()
            self._check()
        way = self._in
        while True:
            if way.cut:
                raise TransportLost("ECONNRESET: the connection was cut")
            due = float("inf")
            if way.pieces:
                due = max(way.pieces[0][0], self._network.silent_until)
                if due <= trio.current_time():
                    return self._take()
            elif way.ended and not way.silent:
                return b""
            self._reads = 0
            if due == float("inf"):
                await way.changed.park()
            else:
                with trio.move_on_at(due):
                    await way.changed.park()
            self._check()

    def _take(self) -> bytes:
        at, data = self._in.pieces.popleft()
        most = self._network.most_bytes()
        if len(data) > most:
            self._in.pieces.appendleft((at, data[most:]))
            data = data[:most]
        self._in.bytes -= len(data)
        self._in.changed.unpark_all()
        return data

    async def send(self, parts: Iterable[bytes | bytearray | memoryview], stall_s: float) -> None:
        for part in parts:
            view = memoryview(part)
            for at in range(0, len(view), _ROOM):
                if self._out.full:
                    with trio.move_on_after(stall_s) as scope:
                        while self._out.full:
                            await self._out.changed.park()
                            self._check()
                    if scope.cancelled_caught:
                        raise WriteStalled(f"nothing could be written for {stall_s:g} s")
                self._put(bytes(view[at : at + _ROOM]))

    def _put(self, data: bytes) -> None:
        if self._process is not None:
            self._process.effect()
        way = self._out
        if way.silent:
            return
        if way.cut or way.unread or way.ended:
            raise TransportLost(errno.errorcode[errno.EPIPE] + ": Broken pipe")
        if data:
            way.pieces.append((trio.current_time() + self._network.latency_s, data))
            way.bytes += len(data)
            way.changed.unpark_all()

    def send_nowait(self, data: bytes | bytearray) -> None:
        try:
            self._put(bytes(data))
        except TransportLost:
            return

    async def linger(self) -> None:
        self._check()
        self._end()
        while not (self._in.ended or self._in.cut):
            self._in.pieces.clear()
            self._in.bytes = 0
            await self._in.changed.park()
            self._check()

    def peer_has_closed(self) -> bool:
        return self._in.cut or (self._in.ended and not self._in.silent)

    def _end(self) -> None:
        self._out.ended = True
        self._out.changed.unpark_all()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._end()
            self._in.unread = True
            self._in.changed.unpark_all()


class Network:
    """``latency_s`` each way; ``most_bytes`` says how much the next read gets."""

    def __init__(self, latency_s: float, short: Callable[[], int] | None = None) -> None:
        self.latency_s = latency_s
        self.silent_until = -float("inf")
        """Nothing arrives before."""
        self.fell_silent_at = -float("inf")
        """When the last connection was broken without a word to its client."""
        self.most_bytes = short or (lambda: _MOST)
        self._accept: tuple[Process, trio.Nursery, Accept] | None = None
        self._connections: list[tuple[str, Way, Way, Process]] = []
        self._numbers = 0

    def listen(self, process: Process, nursery: trio.Nursery, accept: Accept) -> None:
        """Until ``stop_listening``, or the process dies; then its connections break, too."""
        self._accept = process, nursery, accept
        process.on_death.append(lambda: self._died(process))

    def stop_listening(self) -> None:
        self._accept = None

    def _died(self, process: Process) -> None:
        if self._accept is not None and self._accept[0] is process:
            self._accept = None
        for _, up, down, served_by in self._connections:
            if served_by is process:
                down.ended = up.unread = True
                down.changed.unpark_all()
                up.changed.unpark_all()

    async def connect(self, owner: str) -> Endpoint:
        """Raises ConnectionLost if nobody listens. Cancelled: nothing is left."""
        await trio.sleep(self.latency_s)
        if self._accept is None:
            raise ConnectionLost("sim: Connection refused")
        process, nursery, accept = self._accept
        up, down = Way(), Way()
        self._numbers += 1
        self._connections.append((owner, up, down, process))
        served = Endpoint(self, owner, up, down, process)
        nursery.start_soon(accept, served, f"{owner}:{self._numbers}")
        return Endpoint(self, owner, down, up, None)

    def cut(self, owner: str | None = None, *, silent: bool = False) -> int:
        """Breaks the connections of one client, or of all; ``silent``: the server's end alone."""
        count = 0
        for whose, up, down, _ in self._connections:
            if owner is None or whose == owner:
                up.break_off()
                down.break_off()
                up.silent = down.silent = silent
                if silent:
                    self.fell_silent_at = trio.current_time()
                    down.cut = False  # as far as the client is told
                count += 1
        self._connections = [each for each in self._connections if not each[1].cut]
        return count

    def stall(self, seconds: float) -> None:
        """Nothing arrives for so long, but nothing is lost."""
        self.silent_until = max(self.silent_until, trio.current_time() + seconds)
        self._look_again()

    def works_again(self) -> None:
        """What a stall has held up arrives."""
        self.silent_until = -float("inf")
        self._look_again()

    def _look_again(self) -> None:
        for _, up, down, _ in self._connections:
            up.changed.unpark_all()
            down.changed.unpark_all()
