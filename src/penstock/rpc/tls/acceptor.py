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
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Final

import trio

from ..limits import Limits
from .arrival import Arrival
from .pending_handshakes import PendingHandshakes, Stage
from .transport import TlsTransport
from .transport_interface import Transport, TransportLost
from .waiting_room import BEGUN_A_TURN, WaitingRoom

log = logging.getLogger("penstock.rpc")

_ACCEPT_BACK_OFF_S: Final = 0.1
_OUT_OF: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
# What a turn of the scheduler may give to accepting, and to those that say their first word.
_SLICE_S: Final = 0.001
_OF_DESCRIPTORS: Final = 4
# How long handshakes may go on when a drain has begun: two round trips of a far network, and more.
_LAST_HANDSHAKES_S: Final = 2.0


class Acceptor:
    """Accepts, lets TLS shake hands, and gives what comes of it to ``serve``.

    ``linger`` reads a refused connection's rest; ``links`` says how many connections there are
    besides; ``refused`` counts a kind of refusal and logs a text. ``accepting`` is cancelled when a
    drain begins.
    """

    def __init__(
        self,
        limits: Limits,
        ssl_context: ssl.SSLContext,
        *,
        refused: Callable[[str, str], None],
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
        self._refused = refused
        self._accepting = accepting
        self._links = links
        self._serve = serve
        self._linger = linger
        self._acceptors = 0
        self._empty = trio.lowlevel.ParkingLot()
        self._handshakes: PendingHandshakes[Arrival] = PendingHandshakes(
            Random(), trio.current_time, limits.handshake_grace_s, self._empty.unpark_all
        )
        self._waiting = WaitingRoom(limits, self._handshakes, refused, self._has_turn)
        self._ended = False
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
        self._waiting.close_all()

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
                        if error.errno in _OUT_OF and self._waiting.free_descriptors():
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

    def _arrived(self, raw: socket.socket, address: tuple[str, int, *tuple[object, ...]]) -> None:
        if not self._waiting.open or self._ended:  # everything ends, and this was under way
            raw.close()
            return
        arrival = Arrival(raw, address, trio.current_time() + self._limits.handshake_s)
        stage = self._waiting.stage(arrival)
        if stage is None:
            raw.close()
            return
        room = self._limits.connections - self._links()
        if room <= 0:
            text = f"connection from {arrival.text} refused: the server is full"
            self._refused("connections", text)
            raw.close()
            return
        self._waiting.enter(arrival, stage, min(self._most, room))

    # Who speaks.

    def watch(
        self,
        connections: trio.Nursery,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> Awaitable[None]:
        """As WaitingRoom.watch; the handshakes that it begins are in ``connections``."""
        begin = partial(self._begin, connections)
        return self._waiting.watch(begin, task_status=task_status)

    def _has_turn(self) -> bool:
        return self._turns.statistics().tasks_waiting < BEGUN_A_TURN

    def _begin(self, connections: trio.Nursery, arrival: Arrival) -> None:
        # Scope S2.handshake.
        arrival.scope = trio.CancelScope()
        connections.start_soon(self._connection, arrival, arrival.scope)

    async def _connection(self, arrival: Arrival, scope: trio.CancelScope) -> None:
        """From its first byte to close. No exception leaves it: a bug ends this one alone."""
        address = arrival.text
        try:
            transport = await self._handshake(arrival, address, scope)
            if transport is not None:
                await self._serve(transport, address)
        except* Exception:
            log.exception("connection from %s ended by a bug", address)

    async def _handshake(
        self, arrival: Arrival, address: str, scope: trio.CancelScope
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
                self._waiting.refuse_late(arrival)
        except TransportLost as error:
            self._handshakes.remove(arrival)
            kind = "handshake" if error.kind == "lost" else error.kind
            self._refused(kind, f"connection from {address} refused: {error}")
            if transport is not None and error.during_tls:
                await self._linger(transport)  # or the alert that says why may get lost
        finally:
            self._handshakes.remove(arrival)
            if transport is not None and not done:
                transport.close()
        return transport if done else None
