"""The connection to the supervisor: whole messages and their descriptors, both ways."""

import array
import contextlib
import math
import os
import socket
from collections.abc import Callable
from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted_methods
from ...supervisor.ipc import protocol
from ...supervisor.ipc.from_server import Hello
from ...supervisor.ipc.from_supervisor import FROM_SUPERVISOR
from ...supervisor.ipc.message_base import Beat, Message
from ...supervisor.ipc.welcome_message import Welcome
from ..job_errors import Unavailable
from .heartbeat import Heartbeat
from .reported_job import close_all

# Twenty of the longest command lines. Beyond that clients' requests are refused: see `is_full`.
_MOST_WAITING_BYTES: Final = 4 << 20


@uninterrupted_methods
class SupervisorConnection:
    """The server's end of the socket. Messages are queued in order, so that ``send`` never blocks;
    ``end`` sets ``closed``."""

    def __init__(self, connection: trio.socket.SocketType, silence_s: float) -> None:
        """``silence_s``: a supervisor that is silent for so long is given up."""
        self._socket = connection
        self.heartbeat = Heartbeat(silence_s)
        self._outgoing, self._to_send = trio.open_memory_channel[bytes](math.inf)
        self._waiting_bytes = 0
        self.closed = trio.Event()
        self.lost = ""
        """Why it is closed, as far as that is known; "" before."""
        self.gone = False
        """Whether it was the supervisor that left, and not this process."""

    async def greet(self) -> tuple[Welcome, dict[str, int]]:
        """HELLO; WELCOME and its descriptors by name, the caller's to close. Raises Unavailable.

        Cancellation: minimum cleanup.
        """
        await self._socket.send(protocol.encode(Hello(protocol.VERSION, os.getpid(), beats=True)))
        try:
            message, fds = await self._receive()
        except protocol.ProtocolError as error:
            raise Unavailable(f"what listens there is no supervisor: {error}") from error
        if not isinstance(message, Welcome) or len(fds) < len(message.fds):
            close_all(fds)
            raise Unavailable("the supervisor did not welcome this process")
        if message.version != protocol.VERSION:
            close_all(fds)
            raise Unavailable(f"the supervisor speaks version {message.version}; restart it")
        self.heartbeat.on = message.beats
        return message, dict(zip(message.fds, fds, strict=True))

    async def run(self, deliver: Callable[[Message, list[int]], None]) -> None:
        """Carries messages until the supervisor goes. ``deliver`` gets each that comes, with
        descriptors that are its own from then on; a message that breaks the protocol ends the
        connection.

        Cancellation: minimum cleanup; C14.
        """
        # Scope S4.messages.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_all)
            nursery.start_soon(self._watch)
            await self._receive_all(deliver)
            self.gone = True
            # Cancels S4.messages.
            nursery.cancel_scope.cancel()

    def send(self, message: Message) -> None:
        """Queues a message; drops it after ``end``. No checkpoint. Raises ProtocolError, at once,
        if it is too long for a datagram."""
        data = protocol.encode(message)
        if not self.closed.is_set():
            self._waiting_bytes += len(data)
            self._outgoing.send_nowait(data)

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be sent that a request that may be refused must be. The queue
        itself takes all, because a job's end needs some short messages, once each."""
        return self._waiting_bytes >= _MOST_WAITING_BYTES

    def end(self) -> None:
        """The connection counts as lost from now on, whichever side has left."""
        self.lost = self.lost or "the supervisor is gone"
        self.closed.set()

    async def _watch(self) -> None:
        await self.heartbeat.wait_given_up(self._beat)
        self.lost = self.lost or "the supervisor does not answer"
        # If the supervisor resumes, it must see that this process has given it up before it reads
        # the messages that are under way.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _beat(self) -> None:
        if not self._outgoing.statistics().current_buffer_used:
            self.send(Beat())

    async def _send_all(self) -> None:
        async for data in self._to_send:
            try:
                await self._socket.send(data)
                self._waiting_bytes -= len(data)
            except OSError as error:
                self._broke(error)
                # What the supervisor has sent before can still be read; after that comes the end.
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
                return

    async def _receive_all(self, deliver: Callable[[Message, list[int]], None]) -> None:
        while True:
            try:
                message, fds = await self._receive()
            except ConnectionResetError as error:
                # unix(7): the supervisor went with messages of ours unread. The kernel reports that
                # once, before the supervisor's last messages, so those are still to come.
                self._broke(error)
                continue
            except (OSError, protocol.ProtocolError) as error:
                self._broke(error)
                return
            if message is None:
                return
            self.heartbeat.heard()
            if isinstance(message, Beat):
                continue
            try:
                deliver(message, fds)
            except protocol.ProtocolError as error:
                self._broke(error)
                return

    def _broke(self, error: Exception) -> None:
        # A supervisor that goes with messages of ours unread, a beat for example, leaves no other
        # trace.
        gone = isinstance(error, ConnectionResetError | BrokenPipeError)
        why = "supervisor is gone" if gone else f"supervisor's connection broke: {error}"
        self.lost = self.lost or f"the {why}"

    async def _receive(self) -> tuple[Message | None, list[int]]:
        """The next message and its descriptors; None at the end of the connection."""
        data, ancillary, _, _ = await self._socket.recvmsg(
            protocol.MAX_MESSAGE_BYTES + 1, socket.CMSG_SPACE(protocol.MAX_DESCRIPTORS * 4)
        )
        received = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received.frombytes(content[: len(content) - len(content) % received.itemsize])
        fds = list(received)
        for fd in fds:
            os.set_inheritable(fd, False)
        try:
            if data:
                message = protocol.decode(data, FROM_SUPERVISOR)
                if len(fds) > len(getattr(message, "fds", ())):
                    raise protocol.ProtocolError(f"{message.kind}: descriptors without names")
                return message, fds
        except protocol.ProtocolError:
            close_all(fds)
            raise
        close_all(fds)
        return None, []
