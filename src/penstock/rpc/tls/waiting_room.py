"""Connections from accept until their handshake has a task, kept as cheaply as possible.

Theory of operation. Most connects of a flood close at once, or never send a byte. So none of them
has a task or any state of TLS. An arrival is *silent* until a whole TLS record has arrived; one
epoll descriptor, which one task waits for (``watch``), has all silent ones. Then the arrival is
*spoken* and waits for its turn, because TLS costs 0.2 ms a connection: ``watch`` begins a few
handshakes in a turn of the scheduler, the newest first, and hands each to the acceptor. A silent
arrival is looked at with MSG_PEEK, so that no byte is taken which TLS needs later.

Every arrival here, and every one that has a task already, counts in ``handshakes``, which also
decides which one gives way when there are too many (pending_handshakes.py). The race that shaped
this file comes from epoll, which reports each arrival of bytes once: an arrival that is chosen to
give way may have sent its record a moment ago, and ``watch`` may not have read that report yet. So
it is looked at once more before it is closed. Every step is whole, because ``watch`` alone waits.
"""

import select
import socket
from collections.abc import Callable
from typing import Final

import trio

from ..limits import Limits
from .arrival import Arrival
from .pending_handshakes import PendingHandshakes, Stage
from .tcp_socket import peer_has_closed

BEGUN_A_TURN: Final = 2  # a task and TLS's state cost 0.2 ms; and so many wait for TLS's turns
_EVENTS: Final = 64
_GIVE_WAY_AT_ONCE: Final = 16
# TLS's record header (RFC 8446 5.1): the kind, two bytes of version, two of length.
_HEADER_BYTES: Final = 5
_HANDSHAKE: Final = 22
# Of the first record; a ClientHello has some 500 bytes, 1,700 with post-quantum keys.
_LOOKED_AT: Final = 4_096
# Edge-triggered, so that half a record, which stays unread, does not wake ``watch`` repeatedly.
_INTEREST: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_CLOSED: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class WaitingRoom:
    """The silent and the spoken arrivals of one server.

    ``handshakes`` counts these and those that have a task. ``refused`` counts a kind of refusal and
    logs a text. ``has_turn`` returns whether another handshake may begin now.
    """

    def __init__(
        self,
        limits: Limits,
        handshakes: PendingHandshakes[Arrival],
        refused: Callable[[str, str], None],
        has_turn: Callable[[], bool],
    ) -> None:
        self._limits = limits
        self._handshakes = handshakes
        self._refused = refused
        self._has_turn = has_turn
        self._silent: dict[int, Arrival] = {}
        """By descriptor, in the order of accept, which is also that of their deadlines."""
        self._spoken: dict[Arrival, None] = {}
        """Arrivals with a whole record and no task yet, in the order in which it arrived."""
        self._epoll: select.epoll | None = None
        self._watching: trio.CancelScope | None = None

    @property
    def open(self) -> bool:
        """Whether ``watch`` runs. While it does not, no arrival may enter."""
        return self._epoll is not None

    # Entering, and giving way.

    def enter(self, arrival: Arrival, stage: Stage, most: int) -> None:
        """Takes an arrival in, and first ends others while there are ``most`` already."""
        while len(self._handshakes) >= most:
            self._make_room(arrival, most, Stage.SILENT)
        if stage is Stage.SPOKEN:
            self._has_spoken(arrival)
        else:
            self._watch_silent(arrival)
            self._handshakes.add(arrival, arrival.source)

    def stage(self, arrival: Arrival, *, closed: bool = False) -> Stage | None:
        """How far an arrival has come. None: it has ``closed``, or sent what is no TLS.

        That is reported then, and the caller must close it.
        """
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
                return Stage.SPOKEN  # while there is room, so that TLS answers it with an alert
            else:
                text = "TLS: not a handshake"
        self._refused("handshake", f"connection from {arrival.text} refused: {text}")
        return None

    def _has_spoken(self, arrival: Arrival) -> None:
        """Moves an arrival with a whole record to those that wait for a task and TLS."""
        self._handshakes.remove(arrival)
        most = self._limits.handshakes_begun
        while self._handshakes.count(Stage.SPOKEN) >= most:
            self._make_room(arrival, most, Stage.SPOKEN)
        self._handshakes.add(arrival, arrival.source, Stage.SPOKEN)
        self._spoken[arrival] = None
        if len(self._spoken) == 1:
            self._set_deadline()

    def _make_room(self, arrival: Arrival, most: int, least: Stage) -> None:
        """Ends the arrival that must give way.

        It may turn out to have sent a whole record meanwhile. Then it is moved instead, so that
        there may be no room afterwards, and the caller must check again.
        """
        victim = self._handshakes.take_who_gives_way(arrival.source, most, least)
        assert victim is not None, "nobody is there, and yet there are too many"
        if victim.raw.fileno() in self._silent:
            stage = self.stage(victim, closed=peer_has_closed(victim.raw))
            if stage is None:
                self._close(victim)
                return
            if stage is Stage.SPOKEN:
                self._not_silent(victim)
                self._has_spoken(victim)
                return
        text = f"connection from {victim.text} ended: too many handshakes at once"
        self._refused("handshakes", text)
        if victim.scope is not None:
            # Cancels S2.handshake.
            victim.scope.cancel()
        else:
            self._close(victim)

    def free_descriptors(self) -> bool:
        """Ends some silent arrivals, because the process has no descriptor left to accept with.

        False: there is none to end. The caller does not wait for descriptors instead, because every
        client would then wait for peers that may stay silent.
        """
        most = len(self._handshakes)
        for _ in range(min(_GIVE_WAY_AT_ONCE, len(self._silent))):
            self._make_room(next(iter(self._silent.values())), most, Stage.SILENT)
        return len(self._handshakes) < most

    # Watching the silent.

    async def watch(
        self,
        begin: Callable[[Arrival], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Begins the handshakes of arrivals with a whole record, a few in a turn, until cancelled.

        Closes arrivals that are silent for too long; at the end, all whose handshake has not begun.

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
                    self._begin_some(begin)
            finally:
                self.close_all()
                self._epoll = None

    def close_all(self) -> None:
        """Closes every arrival whose handshake has no task. Tasks are the acceptor's to end."""
        for arrival in [*self._silent.values(), *self._spoken]:
            self._handshakes.remove(arrival)
            self._close(arrival)

    def _set_deadline(self) -> None:
        """Sets when ``watch`` looks without a report of epoll: at once while a spoken one waits."""
        if self._watching is None:
            return
        first = next(iter(self._silent.values()), None)
        late_at = float("inf") if first is None else first.late_at
        # Deadline S1.silent.
        self._watching.deadline = -float("inf") if self._spoken else late_at

    def _watch_silent(self, arrival: Arrival) -> None:
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

    def _close(self, arrival: Arrival) -> None:
        """Closes an arrival that has no task."""
        if arrival in self._spoken:
            del self._spoken[arrival]
        else:
            self._not_silent(arrival)
        arrival.raw.close()

    def _not_silent(self, arrival: Arrival) -> None:
        assert self._epoll is not None
        descriptor = arrival.raw.fileno()
        self._epoll.unregister(descriptor)
        del self._silent[descriptor]

    def _close_late(self) -> None:
        now = trio.current_time()
        while (first := next(iter(self._silent.values()), None)) and first.late_at <= now:
            self._handshakes.remove(first)
            self._close(first)
            self.refuse_late(first)

    def refuse_late(self, arrival: Arrival) -> None:
        """Reports that a handshake took too long; the caller closes it."""
        text = f"connection from {arrival.text} refused: the handshake took too long"
        self._refused("handshake_timeout", text)

    def _hear(self, epoll: select.epoll) -> None:
        """Handles every report of epoll, because it reports each one only once."""
        for descriptor, events in epoll.poll(0, _EVENTS):
            arrival = self._silent.get(descriptor)
            if arrival is None:
                continue  # another of these has made it give way
            stage = self.stage(arrival, closed=bool(events & _CLOSED))
            if stage is None:
                self._handshakes.remove(arrival)
                self._close(arrival)
            elif stage is Stage.SPOKEN:
                self._not_silent(arrival)
                self._has_spoken(arrival)

    def _begin_some(self, begin: Callable[[Arrival], None]) -> None:
        for _ in range(BEGUN_A_TURN):
            if not self._spoken or not self._has_turn():
                return
            # The newest first. When more records arrive than signatures can be made, the oldest
            # first would make every peer wait longer than a client does, honest ones included.
            arrival = next(reversed(self._spoken))
            if self.stage(arrival, closed=peer_has_closed(arrival.raw)) is None:
                self._handshakes.remove(arrival)
                self._close(arrival)
                continue
            del self._spoken[arrival]
            begin(arrival)
