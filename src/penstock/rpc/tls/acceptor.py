"""From a listener to the end of a TLS handshake: open to any peer, at any rate.

A connect costs its sender next to nothing, and one program can make 30,000 a second. A server that
accepts fewer than that gets a full queue in the kernel, which then drops the SYN of every client.
A client whose SYN was dropped tries again after one second, then three, then seven, and this delay
is what locks new clients out, long after the flood has ended. So a connection costs as little as
possible here before its first message: the server accepts it in one go with others, looks at it
once, and lets it wait without a task of its own, in an epoll that one task watches. A peer that has
closed already, as most connects of a flood have, is closed at once. A peer that has not sent a
whole TLS record costs no more than a silent one.

A listener may be shared with the supervisor, which hands it to the next server. So the server stops
accepting when a drain begins, and connections in the kernel's queue wait for the next server. Those
that were accepted before belong to this process and no other one can take them over. Their
handshakes may therefore end, within a bound, and each client that completes one is sent a GOAWAY
that lets it reconnect (rpc/grpc_server.py).
"""

import contextlib
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
from .certificate_reasons import in_words, reason_of
from .chain_trial import TrialFailed, refusal
from .pending_handshakes import PendingHandshakes, Stage
from .transport import TlsTransport
from .transport_interface import Transport, TransportLost
from .waiting_room import BEGUN_A_TURN, WaitingRoom

log = logging.getLogger("penstock.rpc")

_ACCEPT_BACK_OFF_S: Final = 0.1
_OUT_OF: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
# How long accepting may take in one turn of the scheduler, because other tasks wait meanwhile.
_SLICE_S: Final = 0.001
_OF_DESCRIPTORS: Final = 4
# How long handshakes may take once a drain has begun: more than two round trips of a far network.
_LAST_HANDSHAKES_S: Final = 2.0


class Acceptor:
    """Accepts connections, runs their TLS handshakes, and passes each result to ``serve``.

    ``linger`` reads the rest of a refused connection; ``links`` returns how many connections the
    server has besides; ``refused`` counts a kind of refusal and logs a text. The server cancels
    ``accepting`` when a drain begins. ``certificate_refused`` gets the address, the reason as
    ``certificate_reasons`` has it, and a text.
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
        certificate_refused: Callable[[str, str, str], None],
    ) -> None:
        self.ssl_context = ssl_context
        """What handshakes that begin from now on use; a reload replaces it."""
        self._limits = limits
        # A bound, because peers without a certificate must not take the descriptors of jobs.
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(limits.handshakes, max(1, descriptors // _OF_DESCRIPTORS))
        self._refused = refused
        self._accepting = accepting
        self._links = links
        self._serve = serve
        self._linger = linger
        self._certificate_refused = certificate_refused
        self._acceptors = 0
        self._empty = trio.lowlevel.ParkingLot()
        self._handshakes: PendingHandshakes[Arrival] = PendingHandshakes(
            Random(), trio.current_time, limits.handshake_grace_s, self._empty.unpark_all
        )
        self._waiting = WaitingRoom(limits, self._handshakes, refused, self._has_turn)
        self._ended = False
        # Not the turns for floods, because a new client must not wait for other clients' frames.
        self._turns = trio.Lock()
        # One at a time, because fifty sockets that take 252 KiB each need 25 ms in one turn.
        self._writing = trio.Lock()

    def __len__(self) -> int:
        """How many handshakes are not done, silent connections included."""
        return len(self._handshakes)

    async def drain(self) -> None:
        """Waits for the handshakes under way, after the server has cancelled ``accepting``.

        A connection that was accepted at that moment counts too. Handshakes that are not done
        after two seconds are ended. Cancelled, they continue, so the caller must then call
        ``end_handshakes``. No checkpoint where no handshake is under way.

        Cancellation: minimum cleanup; C11, C34.
        """
        # Scope S1.handshakes.
        with trio.move_on_after(_LAST_HANDSHAKES_S):
            while self._handshakes or self._acceptors:
                await self._empty.park()
        self.end_handshakes()

    def end_handshakes(self) -> None:
        """Ends every handshake, and lets none begin from now on. Idempotent."""
        self._ended = True
        for arrival in self._handshakes.all():
            if arrival.scope is not None:
                # Cancels S2.handshake.
                arrival.scope.cancel()
        self._waiting.close_all()

    # Accepting.

    async def accept(self, listener: trio.SocketListener) -> None:
        """Accepts from ``listener`` until cancelled; then closes it.

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
                        # A connection that comes as a drain begins is this server's, and the last.
                        if not self._accepting.cancel_called:
                            self._accept_more(queue)
                    except OSError as error:
                        if error.errno in _OUT_OF and self._waiting.free_descriptors():
                            continue
                        # The connection is gone, or no descriptor is free: waiting helps both.
                        level = logging.ERROR if error.errno in _OUT_OF else logging.DEBUG
                        log.log(level, "accept: %s", error.strerror)
                        await trio.sleep(_ACCEPT_BACK_OFF_S)

    def _accept_more(self, queue: socket.socket) -> None:
        """Accepts what is in the kernel's queue, for as long as one turn may take."""
        # CPU time, because by wall time a busy machine would keep the queue full.
        until = time.thread_time() + _SLICE_S
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

    # Handshakes.

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
        """One connection from its first byte to close. No exception but Cancelled leaves it, so
        that a bug ends this connection alone."""
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
        context = self.ssl_context
        # Deadline S2.handshake.
        scope.deadline = arrival.late_at
        try:
            with scope:
                transport = TlsTransport(
                    arrival.raw,
                    context,
                    self._limits,
                    server_side=True,
                    writing=self._writing,
                    on_answer=lambda: self._handshakes.move(arrival, Stage.ANSWERED),
                )
                await transport.handshake(self._turns)
                # Its last step may be past all checkpoints when it is cancelled.
                done = not scope.cancel_called
                if done and context is not self.ssl_context:
                    self._judge_again(transport)
            if not done and trio.current_time() >= scope.deadline:
                self._waiting.refuse_late(arrival)
        except TransportLost as error:
            self._handshakes.remove(arrival)
            kind = "handshake" if error.kind == "lost" else error.kind
            words = in_words(error.__cause__)
            text = f"{error} ({words})" if words else str(error)
            self._refused(kind, f"connection from {address} refused: {text}")
            if (reason := reason_of(error.__cause__)) is not None:
                self._certificate_refused(address, reason, text)
            if transport is not None and error.during_tls:
                await self._linger(transport)  # otherwise the TLS alert with the reason may be lost
            done = False
        finally:
            self._handshakes.remove(arrival)
            if transport is not None and not done:
                transport.close()
        return transport if done else None

    def _judge_again(self, transport: TlsTransport) -> None:
        """The handshake began with files that count no more by its end. Raises TransportLost if
        those of now refuse the client, who gets no alert, as TLS is done; its next handshake
        brings one."""
        chain = (transport.peer_certificate(), *transport.peer_issuers())
        with contextlib.suppress(TrialFailed):  # which shows nothing about this client
            error = refusal(self.ssl_context, chain)
            if error is not None:
                raise TransportLost(str(error), kind="handshake") from error
