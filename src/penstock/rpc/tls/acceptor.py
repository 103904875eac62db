"""From a listener to the end of a TLS handshake: where anybody may come, as often as he can.

A connect costs its sender next to nothing, and 30,000 a second come from one program. Who is
slower at accepting than that has a full queue in the kernel, which then drops everybody's SYN,
and a client that is dropped tries again after one second, then three, then seven: that is what
locks new clients out, and for long after the flood. So what a connection costs before its
first message is here as small as can be: it is accepted in one go with others, looked at once,
and waits without a task of its own, in an epoll that one task looks after. Who has closed
already, which is what most connects of a flood are, is closed at once; who has not sent a whole
record of TLS costs no more than who is silent.

A listener may be another process's, too: that of the supervisor, which hands it to the next server.
So when a drain begins nothing more is accepted, and what is in the kernel's queue waits for that
server. What was accepted before is this one's, and nobody else can have it: its handshakes go on,
for a moment, and whoever comes through is told to connect again (rpc/grpc_server.py).
"""

import errno
import logging
import resource
import select
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import trio

from ..limits import Limits
from ..rejections import Rejections
from .pending_handshakes import PendingHandshakes, Stage, source_of
from .transport import TlsTransport, Transport, TransportLost, peer_has_closed

log = logging.getLogger("penstock.rpc")

_ACCEPT_BACK_OFF_S: Final = 0.1
_OUT_OF: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
# What a turn of the scheduler may give to accepting, and to those that say their first word.
_SLICE_S: Final = 0.001
_EVENTS: Final = 64
_OF_DESCRIPTORS: Final = 4
_GIVE_WAY_AT_ONCE: Final = 16
# How long handshakes may go on when a drain has begun: two round trips of a far network, and more.
_LAST_HANDSHAKES_S: Final = 2.0
_BEGUN_A_TURN: Final = 2  # a task and TLS's state cost 0.2 ms; and so many wait for TLS's turns
# TLS's record header (RFC 8446 5.1): the kind, two bytes of version, two of length.
_HEADER_BYTES: Final = 5
_HANDSHAKE: Final = 22
# Of the first record; a ClientHello has some 500 bytes, 1,700 with post-quantum keys.
_LOOKED_AT: Final = 4_096
# Each arrival of bytes is told once, so that half a record keeps nobody busy.
_INTEREST: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_CLOSED: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class _Arrival:
    """One connection whose handshake is not done. ``scope`` is that of its task, once it has one.

    ``late_at``, on Trio's clock, is when it must be done.
    """

    __slots__ = ("address", "late_at", "raw", "scope", "source")

    def __init__(self, raw: socket.socket, address: Any, late_at: float) -> None:
        self.raw = raw
        self.address = address
        self.late_at = late_at
        self.source = source_of(address[0])
        self.scope: trio.CancelScope | None = None

    @property
    def text(self) -> str:
        host, port = self.address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Acceptor:
    """Accepts, lets TLS shake hands, and gives what comes of it to ``serve``.

    ``linger`` reads a refused connection's rest; ``links`` says how many connections there are
    besides. ``accepting`` is cancelled when a drain begins.
    """

    def __init__(
        self,
        limits: Limits,
        ssl_context: ssl.SSLContext,
        refusals: Rejections,
        *,
        accepting: trio.CancelScope,
        links: Callable[[], int],
        serve: Callable[[Transport, str], Awaitable[None]],
        linger: Callable[[Transport], Awaitable[None]],
    ) -> None:
        self.ssl_context = ssl_context
        """For handshakes that begin from now on."""
        self._limits = limits
        # Who has no certificate may not take the descriptors that jobs need.
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(limits.handshakes, max(1, descriptors // _OF_DESCRIPTORS))
        self._refusals = refusals
        self._accepting = accepting
        self._links = links
        self._serve = serve
        self._linger = linger
        self._acceptors = 0
        self._empty = trio.lowlevel.ParkingLot()
        self._handshakes: PendingHandshakes[_Arrival] = PendingHandshakes(
            Random(), trio.current_time, limits.handshake_grace_s, self._empty.unpark_all
        )
        self._silent: dict[int, _Arrival] = {}
        """By descriptor, in the order in which they came, so that of their deadlines."""
        self._spoken: dict[_Arrival, None] = {}
        """Those that have said hello and have no task yet, in the order in which they did."""
        self._ended = False
        self._epoll: select.epoll | None = None
        self._watching: trio.CancelScope | None = None
        # Not those for floods: a new client must not queue behind everybody's frames.
        self._turns = trio.Lock()
        # Fifty sockets that take all they are given, 252 KiB each, are 25 ms and more in one turn.
        self._writing = trio.Lock()

    def __len__(self) -> int:
        """Handshakes that are not done."""
        return len(self._handshakes)

    async def drain(self) -> None:
        """When ``accepting`` was cancelled: returns when every handshake is done, of a connection
        that was accepted in that moment too; after two seconds at most, when the others are ended.
        Cancelled: they go on; call ``end_handshakes``. No checkpoint where there is none.

        Cancellation: minimum cleanup; C11, C34.
        """
        # Scope S1.handshakes.
        with trio.move_on_after(_LAST_HANDSHAKES_S):
            while self._handshakes or self._acceptors:
                await self._empty.park()
        self.end_handshakes()

    def end_handshakes(self) -> None:
        """All of them, and none begins any more. Idempotent."""
        self._ended = True
        for arrival in self._handshakes.all():
            if arrival.scope is not None:
                # Cancels S2.handshake.
                arrival.scope.cancel()
        self._close_all_silent()

    # Who comes.

    async def accept(self, listener: trio.SocketListener) -> None:
        """Until cancelled; closes ``listener``.

        Cancellation: minimum cleanup; C11, C12, C56.
        """
        self._acceptors += 1
        try:
            await self._accept(listener)
        finally:
            self._acceptors -= 1
            self._empty.unpark_all()

    async def _accept(self, listener: trio.SocketListener) -> None:
        async with listener:
            raw = listener.socket
            with socket.fromfd(raw.fileno(), raw.family, raw.type) as queue:
                queue.setblocking(False)
                while True:
                    try:
                        accepted, address = await raw.accept()
                        first = socket.socket(fileno=accepted.detach())
                        self._arrived(first, address)
                        # If a drain has begun as it came it is ours all the same, and the last.
                        if not self._accepting.cancel_called:
                            self._accept_more(queue)
                    except OSError as error:
                        if error.errno in _OUT_OF and self._free_descriptors():
                            continue
                        # The connection is gone already, or descriptors are: waiting helps both.
                        level = logging.ERROR if error.errno in _OUT_OF else logging.DEBUG
                        log.log(level, "accept: %s", error.strerror)
                        await trio.sleep(_ACCEPT_BACK_OFF_S)

    def _accept_more(self, queue: socket.socket) -> None:
        """What the kernel has for us, for as long as one turn may be."""
        until = time.thread_time() + _SLICE_S  # else a busy machine would keep the queue full
        while time.thread_time() < until:
            try:
                raw, address = queue.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            self._arrived(raw, address)

    def _arrived(self, raw: socket.socket, address: Any) -> None:
        if self._epoll is None or self._ended:  # everything ends, and this was under way
            raw.close()
            return
        arrival = _Arrival(raw, address, trio.current_time() + self._limits.handshake_s)
        stage = self._stage(arrival)
        if stage is None:
            raw.close()
            return
        room = self._limits.connections - self._links()
        if room <= 0:
            text = f"connection from {arrival.text} refused: the server is full"
            self._refusals.refused("connections", text)
            raw.close()
            return
        most = min(self._most, room)
        while len(self._handshakes) >= most:
            self._make_room(arrival, most, Stage.SILENT)
        if stage is Stage.SPOKEN:
            self._has_spoken(arrival)
        else:
            self._watch_silent(arrival)
            self._handshakes.add(arrival, arrival.source)

    def _stage(self, arrival: _Arrival, *, closed: bool = False) -> Stage | None:
        """How far it is; None, which is told: it has ``closed``, or is refused; we must close."""
        text = "the peer has closed during the handshake"
        try:
            data = arrival.raw.recv(_LOOKED_AT, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return Stage.SILENT
        except OSError as error:
            text = str(error.strerror)
        else:
            if closed or not data:
                pass
            elif data[0] == _HANDSHAKE:
                whole = _HEADER_BYTES + int.from_bytes(data[3:_HEADER_BYTES], "big")
                return Stage.SPOKEN if len(data) >= min(whole, _LOOKED_AT) else Stage.SILENT
            elif self._handshakes.count(Stage.SPOKEN) < self._limits.handshakes_begun // 2:
                return Stage.SPOKEN  # TLS tells it that this is no TLS, while there is room
            else:
                text = "TLS: not a handshake"
        self._refusals.refused("handshake", f"connection from {arrival.text} refused: {text}")
        return None

    def _has_spoken(self, arrival: _Arrival) -> None:
        """It is to have a task and TLS, when it is its turn."""
        self._handshakes.remove(arrival)
        most = self._limits.handshakes_begun
        while self._handshakes.count(Stage.SPOKEN) >= most:
            self._make_room(arrival, most, Stage.SPOKEN)
        self._handshakes.add(arrival, arrival.source, Stage.SPOKEN)
        self._spoken[arrival] = None
        if len(self._spoken) == 1:
            self._set_deadline()

    def _make_room(self, arrival: _Arrival, most: int, least: Stage) -> None:
        """Ends one; or finds that it has said hello meanwhile: then there may be no more room."""
        victim = self._handshakes.take_who_gives_way(arrival.source, most, least)
        assert victim is not None, "nobody is there, and yet there are too many"
        if victim.raw.fileno() in self._silent:
            stage = self._stage(victim, closed=peer_has_closed(victim.raw))
            if stage is None:
                self._close(victim)
                return
            if stage is Stage.SPOKEN:
                self._not_silent(victim)
                self._has_spoken(victim)
                return
        text = f"connection from {victim.text} ended: too many handshakes at once"
        self._refusals.refused("handshakes", text)
        if victim.scope is not None:
            # Cancels S2.handshake.
            victim.scope.cancel()
        else:
            self._close(victim)

    def _free_descriptors(self) -> bool:
        """Some of who is silent give way to the next, as the process has no descriptor left.

        False: nobody is. Waiting instead would have everybody wait for who waits for nothing.
        """
        most = len(self._handshakes)
        for _ in range(min(_GIVE_WAY_AT_ONCE, len(self._silent))):
            self._make_room(next(iter(self._silent.values())), most, Stage.SILENT)
        return len(self._handshakes) < most

    # Who says nothing.

    async def watch(
        self,
        connections: trio.Nursery,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until cancelled: begins the handshakes of those that say something, some in a turn, and
        closes who is silent for too long; at the end, all whose handshake has not begun.

        Cancellation: minimum cleanup; C11, C12.
        """
        with select.epoll() as epoll:
            self._epoll = epoll
            try:
                task_status.started()
                while True:
                    # Scope S1.silent.
                    with trio.CancelScope() as self._watching:
                        self._set_deadline()
                        await trio.lowlevel.wait_readable(epoll)
                    self._watching = None
                    self._close_late()
                    self._hear(epoll)
                    self._begin_some(connections)
            finally:
                self._close_all_silent()
                self._epoll = None

    def _close_all_silent(self) -> None:
        """All whose handshake has no task."""
        for arrival in [*self._silent.values(), *self._spoken]:
            self._handshakes.remove(arrival)
            self._close(arrival)

    def _set_deadline(self) -> None:
        """When ``watch`` is to look by itself: at once while there is somebody to begin with."""
        if self._watching is None:
            return
        first = next(iter(self._silent.values()), None)
        late_at = float("inf") if first is None else first.late_at
        # Deadline S1.silent.
        self._watching.deadline = -float("inf") if self._spoken else late_at

    def _watch_silent(self, arrival: _Arrival) -> None:
        assert self._epoll is not None
        descriptor = arrival.raw.fileno()
        try:
            self._epoll.register(descriptor, _INTEREST)
        except OSError:  # out of memory for it
            arrival.raw.close()
            raise
        self._silent[descriptor] = arrival
        if len(self._silent) == 1:
            self._set_deadline()

    def _close(self, arrival: _Arrival) -> None:
        """One that has no task."""
        if arrival in self._spoken:
            del self._spoken[arrival]
        else:
            self._not_silent(arrival)
        arrival.raw.close()

    def _not_silent(self, arrival: _Arrival) -> None:
        assert self._epoll is not None
        descriptor = arrival.raw.fileno()
        self._epoll.unregister(descriptor)
        del self._silent[descriptor]

    def _close_late(self) -> None:
        now = trio.current_time()
        while (first := next(iter(self._silent.values()), None)) and first.late_at <= now:
            self._handshakes.remove(first)
            self._close(first)
            self._tell_late(first)

    def _tell_late(self, arrival: _Arrival) -> None:
        text = f"connection from {arrival.text} refused: the handshake took too long"
        self._refusals.refused("handshake_timeout", text)

    def _hear(self, epoll: select.epoll) -> None:
        """Who has said something, or has closed. All that epoll tells, as it tells it once."""
        for descriptor, events in epoll.poll(0, _EVENTS):
            arrival = self._silent.get(descriptor)
            if arrival is None:
                continue  # another of these has made it give way
            stage = self._stage(arrival, closed=bool(events & _CLOSED))
            if stage is None:
                self._handshakes.remove(arrival)
                self._close(arrival)
            elif stage is Stage.SPOKEN:
                self._not_silent(arrival)
                self._has_spoken(arrival)

    def _begin_some(self, connections: trio.Nursery) -> None:
        for _ in range(_BEGUN_A_TURN):
            if not self._spoken or self._turns.statistics().tasks_waiting >= _BEGUN_A_TURN:
                return
            # The newest: when more say hello than signatures can be made, the oldest first would
            # have everybody wait for longer than a client does, those that mean it included.
            arrival = next(reversed(self._spoken))
            if self._stage(arrival, closed=peer_has_closed(arrival.raw)) is None:
                self._handshakes.remove(arrival)
                self._close(arrival)
                continue
            del self._spoken[arrival]
            # Scope S2.handshake.
            arrival.scope = trio.CancelScope()
            connections.start_soon(self._connection, arrival, arrival.scope)

    # Who speaks.

    async def _connection(self, arrival: _Arrival, scope: trio.CancelScope) -> None:
        """From its first byte to close. No exception leaves it: a bug ends this one alone."""
        address = arrival.text
        try:
            transport = await self._handshake(arrival, address, scope)
            if transport is not None:
                await self._serve(transport, address)
        except* Exception:
            log.exception("connection from %s ended by a bug", address)

    async def _handshake(
        self, arrival: _Arrival, address: str, scope: trio.CancelScope
    ) -> TlsTransport | None:
        transport = None
        done = False
        # Deadline S2.handshake.
        scope.deadline = arrival.late_at
        try:
            with scope:
                transport = TlsTransport(
                    arrival.raw,
                    self.ssl_context,
                    self._limits,
                    server_side=True,
                    writing=self._writing,
                    on_answer=lambda: self._handshakes.move(arrival, Stage.ANSWERED),
                )
                await transport.handshake(self._turns)
                # Its last step may be past all checkpoints when it is cancelled.
                done = not scope.cancel_called
            if not done and trio.current_time() >= scope.deadline:
                self._tell_late(arrival)
        except TransportLost as error:
            self._handshakes.remove(arrival)
            kind = "handshake" if error.kind == "lost" else error.kind
            self._refusals.refused(kind, f"connection from {address} refused: {error}")
            if transport is not None and error.during_tls:
                await self._linger(transport)  # or the alert that says why may get lost
        finally:
            self._handshakes.remove(arrival)
            if transport is not None and not done:
                transport.close()
        return transport if done else None
