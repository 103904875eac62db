"""The supervisor's socket: one server at a time, of one user, one JSON object a datagram."""

import array
import contextlib
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, Protocol

from ..kernel.loop import READ, WRITE, Loop
from ..kernel.reap import disown, fork
from ..logs.supervisor_log import log
from . import protocol
from .from_server import FROM_SERVER
from .message_base import Message

# While so many answers wait to be read, no request is read: each has one answer, and each job two
# messages of its own, so that the queue is bounded by the number of jobs.
_MAX_QUEUED: Final = 64
_UCRED: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)
# asm-generic/socket.h, since Linux 6.16: whether a peer can send descriptors at all.
_SO_PASSRIGHTS: Final = 83


def peer_ids(connection: socket.socket) -> tuple[int, int]:
    """pid and uid of the process that connected, by SO_PEERCRED. Raises OSError."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(data)
    return pid, uid


def listen(path: str, gid: int | None, mode: int = 0o660) -> socket.socket:
    """A listening SOCK_SEQPACKET socket of this mode, of group ``gid``. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        listener.bind(path)
        if gid is not None:
            os.chown(path, 0, gid)
        os.chmod(path, mode)  # before it listens, so that nobody else has connected by then
        with contextlib.suppress(OSError):  # an older kernel; connections inherit it
            listener.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
        listener.listen(8)
    except OSError:
        listener.close()
        raise
    return listener


def discard(connection: socket.socket) -> None:
    """Closes a connection without waiting, whatever was sent on it.

    A message that was not read may carry descriptors, and the process that closes the last one of
    a socket with SO_LINGER waits for as long as the sender has set. So where the kernel lets
    descriptors be sent, a child closes them last as it ends, because ending processes do not wait.
    """
    ends: tuple[int, ...] = ()
    try:
        if _may_carry_descriptors(connection):
            ends = os.pipe2(os.O_CLOEXEC)
            if (pid := fork()) == 0:
                _hold(*ends)
            disown(pid)
    except OSError as error:
        log(f"no process for closing a connection: {error.strerror}")
    finally:
        connection.close()
        for fd in ends:
            os.close(fd)


def _hold(here: int, there: int) -> NoReturn:
    """In the child: ends when its parent has closed what it has."""
    try:
        os.close(there)
        os.read(here, 1)
    finally:
        os._exit(0)


def _may_carry_descriptors(connection: socket.socket) -> bool:
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS) != 0
    except OSError:
        return True


class ServerPeer:
    """The connected server. ``on_closed`` is called once, however the connection ends;
    ``on_breaking`` before, while it is open still, if the peer's own doing is why it ends.
    """

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        on_message: Callable[[Message], None],
        on_closed: Callable[[str], None],
        on_breaking: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._socket = connection
        self._on_message = on_message
        self._on_closed = on_closed
        self._on_breaking = on_breaking
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._open = True
        self._looks_first = _may_carry_descriptors(connection)
        connection.setblocking(False)
        loop.watch(connection.fileno(), READ, self._readable)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Sends or queues one message with copies of ``descriptors``. Never blocks.

        Where there are no descriptors left for copies, because the peer does not take those that it
        was sent, the connection ends.
        """
        if not self._open:
            return
        data = protocol.encode(message)
        copies: list[int] = []
        self._queue.append((data, copies))
        try:
            for fd in descriptors:
                copies.append(os.dup(fd))
        except OSError as error:
            self.break_off(f"{len(self._queue)} messages wait for it: {error.strerror}")
            return
        if len(self._queue) == 1:
            self._flush()
        elif len(self._queue) == _MAX_QUEUED:
            self._loop.watch(self._socket.fileno(), WRITE, self._ready)

    @property
    def waits(self) -> bool:
        """Whether messages are queued, because the peer has not read those before."""
        return bool(self._queue)

    @property
    def hung_up(self) -> bool:
        """Whether the peer has closed its end; messages that it sent before may not be read yet."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def close(self, why: str) -> None:
        """Ends the connection; ``why`` is for the log. No error if it has ended."""
        if not self._open:
            return
        self._open = False
        self._loop.forget(self._socket.fileno())
        while self._queue:  # first, as discard may need descriptors
            for fd in self._queue.popleft()[1]:
                os.close(fd)
        discard(self._socket)
        self._on_closed(why)

    def break_off(self, why: str) -> None:
        """As ``close``, but for the peer's own doing, so ``on_breaking`` is called first."""
        if self._open:
            self._on_breaking()
            self.close(why)

    def _flush(self) -> None:
        while self._queue:
            data, fds = self._queue[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                self._socket.sendmsg([data], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                read = READ if len(self._queue) < _MAX_QUEUED else 0
                self._loop.watch(self._socket.fileno(), read | WRITE, self._ready)
                return
            except OSError as error:
                self.close(error.strerror or "send failed")
                return
            self._queue.popleft()
            for fd in fds:
                os.close(fd)
        self._loop.watch(self._socket.fileno(), READ, self._readable)

    def _ready(self) -> None:
        self._flush()
        if self._open and len(self._queue) < _MAX_QUEUED:
            self._readable()

    def _readable(self) -> None:
        try:
            # Descriptors are left where they are, for discard: without a place for them the
            # kernel says that there were some, and has closed them.
            flags = self._receive(1, socket.MSG_PEEK)[1] if self._looks_first else 0
            if not flags & socket.MSG_CTRUNC:
                data, flags = self._receive(protocol.MAX_MESSAGE_BYTES + 1)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(error.strerror or "receive failed")
            return
        if flags & socket.MSG_CTRUNC:
            self.break_off("it sent descriptors, which no request has")
        elif not data:
            self.close("end of connection")
        elif flags & socket.MSG_TRUNC or len(data) > protocol.MAX_MESSAGE_BYTES:
            self.break_off(f"a message of over {protocol.MAX_MESSAGE_BYTES} bytes")
        else:
            try:
                self._on_message(protocol.decode(data, FROM_SERVER))
            except protocol.ProtocolError as error:
                self.break_off(str(error))

    def _receive(self, size: int, flags: int = 0) -> tuple[bytes, int]:
        """A datagram and its flags. Raises OSError."""
        data, _, found, _ = self._socket.recvmsg(size, 0, flags)
        return data, found


class Send(Protocol):
    """How messages reach the server: ``ServerPeer.send``, or ``nobody`` while none is connected."""

    def __call__(self, message: Message, descriptors: Sequence[int] = (), /) -> None:
        """Sends it with these descriptors, which stay the caller's."""
        ...


def nobody(message: Message, descriptors: Sequence[int] = (), /) -> None:
    """A Send that drops the message, because no server is connected."""
