"""Between a transport and the protocol: reads, dispatches, writes. Base of both sides.

Theory of operation. Three tasks work on one connection: ``read``, ``write`` and ``keep_alive``.
The protocol itself (http2/connection.py) does no I/O and is whole between any two checkpoints:
``_handle`` gives it bytes and dispatches every event that comes of them before it waits for
anything. So any task, also a call's, may give the connection a command at any time; it queues
bytes, and ``wake`` lets the writer take them.

    open ── end(why) ──▶ ended ── finish() ──▶ written ── the owner ──▶ transport closed
    open ── a write fails ──▶ deaf ── linger_s, or end(why) ──▶ ended

*open*: ``read`` handles frames until the peer closes or breaks the protocol, a deadline comes
(``_read_until``), or a task calls ``end``. *ended*: the first reason stands in ``ended`` and no
later one changes it; ``read`` returns, and no exception but Cancelled leaves it. The writer still
lives, because answers and GOAWAY may be waiting. *written*: after ``finish`` the writer returns as
soon as nothing waits. *deaf*: on a client, once a write has failed, the reader still reads for
``linger_s``, because the server's last frames explain more than "broken pipe" does; a server ends
at once instead.
Who may call what: ``read``, ``write`` and ``keep_alive`` once each, by the owner of the tasks
(``run`` of either side), which also calls ``finish`` and closes the transport after ``write``;
``end`` and ``wake`` any task, without a checkpoint, as often as it likes.

The race that shaped it: ``write`` looks whether bytes wait, and then waits for ``wake``. A command
between the two would be forgotten if the look and the wait were apart; both are between the same
two checkpoints, and ``_wake`` is a new event each time, so none is set for an earlier look. The
other one is between a peer that floods and all other clients: many small frames in one record would
hold the thread for tens of milliseconds. So beyond the first few they are handled a slice a turn
(turns.py), and ``_wait_answers_taken`` stops reading from a peer that does not read its answers.
"""

import logging
from collections.abc import Hashable, Sequence
from functools import partial
from time import perf_counter
from typing import Final, Generic, NamedTuple, TypeVar

import trio

from ..concurrency.interrupts import uninterrupted_methods
from .http2 import events as ev
from .http2.connection import Connection, ConnectionFailed
from .http2.protocol_errors import INTERNAL_ERROR, FloodBudget
from .limits import Limits
from .message_stream import HeldData, MessageStream
from .tls.transport_interface import Transport, TransportLost, WriteStalled
from .turns import FairTurns

log = logging.getLogger("penstock.rpc")

StreamT = TypeVar("StreamT", bound=MessageStream)

# A record of 16 KiB can hold 500 begun and reset calls, which cost 50 ms. A call is two frames.
_FRAMES_FREE: Final = 4
_FRAMES_A_TURN: Final = 16
# A turn has a bound in time as well, because a call costs a hundred times an unknown frame.
_SLICE_S: Final = 0.00075
_FRAMES_A_STEP: Final = 4
# Reads between two checks whether the peer is still there, because each costs a system call.
_READS_A_LOOK: Final = 32
_KEEPALIVE_PING: Final = b"any news"


class Ended(NamedTuple):
    """Why a connection has ended: ``kind`` for counters, ``text`` for people.

    ``reachable``: the peer may still read what was queued, so the writer should finish.
    """

    kind: str
    text: str
    reachable: bool = False
    during_tls: bool = False


@uninterrupted_methods
class HttpEndpoint(Generic[StreamT]):
    """Events are handled without a checkpoint, so that no decision spans one.

    No exception leaves ``read`` but Cancelled: the first reason to end is kept in ``ended``.
    """

    def __init__(
        self,
        transport: Transport,
        limits: Limits,
        turns: FairTurns,
        *,
        client: Hashable = None,
        held: Sequence[HeldData] = (),
        client_side: bool,
    ) -> None:
        """``turns`` and ``held`` are shared by connections that must not crowd each other out;
        this connection takes the turns of ``client``."""
        self.limits = limits
        self._turns = turns
        self._client = client
        self.connection = Connection(limits, client_side=client_side)
        self.streams: dict[int, StreamT] = {}
        self.held = (HeldData(limits.unfinished_bytes, "on this connection"), *held)
        self.ended: Ended | None = None
        self._transport = transport
        # Scope S2.reading.
        self._reading = trio.CancelScope()
        self._broken: Ended | None = None
        self._wake: trio.Event | None = None
        self._room = trio.lowlevel.ParkingLot()
        self._finishing = False
        self._writing = False
        self._peer_speaks = False
        self._heard_at = trio.current_time()
        self._reads = 0
        self.little_data = FloodBudget("DATA of few bytes", limits.little_data)
        # Scope S2.keepalive.
        self._keeping_alive = trio.CancelScope()
        self.connection.start()

    # Writing.

    @property
    def has_room(self) -> bool:
        """Whether a sender may queue more without waiting for the writer."""
        return self.connection.pending_bytes < self.limits.outbound_bytes

    async def wait_room(self) -> None:
        """Returns when the writer has taken what waits. The caller checks ``has_room`` again.

        Cancellation: atomic.
        """
        await self._room.park()

    def wake(self) -> None:
        """Wakes the writer, because there may be something to write. No checkpoint."""
        if self._wake is not None and self.connection.pending_bytes:
            self._wake.set()

    async def write(self) -> None:
        """Writes until ``finish`` is called and all is written, or the peer is out of reach.

        No checkpoint while the transport has none: what the socket takes at once needs no wait.

        Cancellation: minimum cleanup; C2.
        """
        while True:
            if self.connection.pending_bytes:
                parts = self.connection.take_parts()
                self._room.unpark_all()
                self._writing = True
                try:
                    await self._transport.send(parts, self.limits.write_stall_s)
                except TransportLost as error:
                    self._write_failed(error)
                    return
                except WriteStalled as error:
                    self.end(Ended("write_stall", str(error)))
                    return
                self._writing = False
            elif self._finishing:
                return
            else:
                self._all_written()
                self._wake = trio.Event()
                try:
                    await self._wake.wait()
                finally:
                    self._wake = None

    def _write_failed(self, error: TransportLost) -> None:
        """Lets the reader read for a moment, because the peer's last frames explain more than
        "broken pipe" does."""
        self._read_until(trio.current_time() + self.limits.linger_s)
        self._broken = Ended("lost", str(error), during_tls=error.during_tls)

    def _read_until(self, deadline: float) -> None:
        """Sets when reading ends by itself. Ignored once a write has failed, because the time that
        was set then must stand."""
        if self._broken is None:
            # Deadline S2.reading.
            self._reading.deadline = deadline

    def finish(self) -> None:
        """Lets ``write`` return as soon as nothing waits to be written. No checkpoint."""
        self._finishing = True
        if self._wake is not None:
            self._wake.set()

    # Reading.

    def end(self, ended: Ended) -> None:
        """Stops reading. Only the first reason counts. No checkpoint."""
        if self.ended is None:
            self.ended = ended
        # Cancels S2.reading.
        self._reading.cancel()

    async def read(self) -> None:
        """Reads and dispatches until the connection ends; ``ended`` has the reason then.

        No checkpoint if the connection has ended as it is called.

        Cancellation: minimum cleanup; C2.
        """
        try:
            with self._reading:
                await self._read()
        except TransportLost as error:
            self.end(Ended(error.kind, str(error), during_tls=error.during_tls))
        except ConnectionFailed as error:
            self.end(Ended(error.kind, str(error), reachable=True))
        except Exception as error:  # so that a bug ends this connection alone
            log.exception("a bug ends a connection")
            last = self.connection.highest_inbound_stream_id
            self.connection.go_away(INTERNAL_ERROR, last)
            self.end(Ended("bug", repr(error), reachable=True))
        finally:
            # Cancels S2.keepalive.
            self._keeping_alive.cancel()
        if self._reading.cancelled_caught and self.ended is None:
            self.ended = self._broken or self._timed_out()

    async def keep_alive(self) -> None:
        """Sends a PING to a peer that is silent while calls run; ends with ``read``.

        Without calls ``idle_s`` ends the connection sooner or later.

        Cancellation: minimum cleanup; C2.
        """
        limits = self.limits
        with self._keeping_alive:
            while True:
                await trio.sleep_until(self._heard_at + limits.keepalive_s)
                if trio.current_time() < self._heard_at + limits.keepalive_s:
                    continue
                heard_at = self._heard_at
                if not self.streams:
                    await trio.sleep(limits.keepalive_s)
                    continue
                self.connection.ping(_KEEPALIVE_PING)
                self.wake()
                await trio.sleep(limits.keepalive_timeout_s)
                if self._heard_at == heard_at:
                    self.end(Ended("keepalive", "the peer does not answer"))

    async def _read(self) -> None:
        while True:
            data = await self._transport.receive()
            self._heard_at = trio.current_time()
            self._reads += 1
            if not data or (self._reads % _READS_A_LOOK == 0 and self._nobody_is_there()):
                break
            if not self._turns.at_once(partial(self._handle, data, _FRAMES_FREE)):
                self._handle(data, 0)  # kept for a slice, below
            await self._wait_answers_taken()
            while self.connection.more:
                # Many small frames at once: one slice of them a turn, over all connections.
                async with self._turns.of(self._client):
                    if self._nobody_is_there():  # asked last, because the wait may have been long
                        break
                    self._handle_slice()
                await self._wait_answers_taken()
            if self.connection.more:
                break
        self.end(Ended("closed", "the peer has closed the connection"))

    def _nobody_is_there(self) -> bool:
        """Whether the peer is gone, so that handling what is left would be in vain.

        Checked for a peer with a backlog, because handling that may take a minute.
        """
        return False

    def _handle_slice(self) -> None:
        until = perf_counter() + _SLICE_S
        for _ in range(_FRAMES_A_TURN // _FRAMES_A_STEP):
            self._handle(b"", _FRAMES_A_STEP)
            if not self.connection.more or perf_counter() >= until:
                return

    async def _wait_answers_taken(self) -> None:
        """Waits while the peer does not read its answers to control frames and bad requests.

        Nothing is read from it meanwhile, because the answers would otherwise fill the memory.
        """
        while self.connection.pending_bytes > 2 * self.limits.outbound_bytes:
            await self.wait_room()

    def _handle(self, data: bytes, most: int) -> None:
        for event in self.connection.receive(data, most):
            self._dispatch(event)
        self.wake()

    def _timed_out(self) -> Ended:
        raise AssertionError("no deadline was set")

    def _dispatch(self, event: ev.Event) -> None:
        match event:
            case ev.DataArrived():
                stream = self.streams.get(event.stream_id)
                if stream is None:
                    self.connection.acknowledge(event.stream_id, event.flow_bytes)
                else:
                    stream.feed(event.data, event.flow_bytes)
            case ev.HeadersArrived():
                self._headers_arrived(event)
            case ev.OversizedHeaders():
                self._headers_too_large(event)
            case ev.TrailersArrived():
                if (stream := self.streams.get(event.stream_id)) is not None:
                    self._trailers_arrived(stream, event)
            case ev.StreamEnded():
                if (stream := self.streams.get(event.stream_id)) is not None:
                    stream.end()
            case ev.StreamReset():
                if not event.by_peer:
                    self._rule_broken(event)
                if (stream := self.streams.get(event.stream_id)) is not None:
                    stream.closed = True
                    self._stream_reset(stream, event)
            case ev.WindowOpened(0):
                for stream in self.streams.values():
                    stream.window_opened()
            case ev.WindowOpened():
                if (stream := self.streams.get(event.stream_id)) is not None:
                    stream.window_opened()
            case ev.SettingsArrived():
                self._peer_speaks = True
                self._settings_arrived()
            case ev.PingAnswered():
                self._ping_answered(event)
            case ev.GoingAway():
                self._going_away(event)

    # What the two sides do differently.

    def _headers_arrived(self, event: ev.HeadersArrived) -> None:
        raise NotImplementedError

    def _headers_too_large(self, event: ev.OversizedHeaders) -> None:
        raise NotImplementedError

    def _trailers_arrived(self, stream: StreamT, event: ev.TrailersArrived) -> None:
        raise NotImplementedError

    def _stream_reset(self, stream: StreamT, event: ev.StreamReset) -> None:
        raise NotImplementedError

    def _settings_arrived(self) -> None:
        raise NotImplementedError

    def _rule_broken(self, event: ev.StreamReset) -> None:
        """The peer has broken a rule on one stream; the server counts it."""

    def _all_written(self) -> None:
        """The writer has nothing left; a connection that drains may end now."""

    def _ping_answered(self, event: ev.PingAnswered) -> None:
        """The peer has answered a PING, which ends the drain's round trip."""

    def _going_away(self, event: ev.GoingAway) -> None:
        """The peer has sent GOAWAY. A server does nothing, because a client ends its own calls."""
