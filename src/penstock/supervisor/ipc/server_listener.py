"""Which process may be the server: one at a time, of one user, and alone."""

import contextlib
import os
import select
import signal
from collections.abc import Callable, Sequence
from typing import Final

from ..kernel.loop import READ, Loop, Timer
from ..logs.supervisor_log import log
from . import protocol
from .from_server import Hello
from .message_base import Beat, Message
from .run_directory import RunDirectory
from .server_socket import ServerPeer, discard, listen, peer_ids

# A peer that sends no HELLO would otherwise keep the place from the server.
HELLO_TIMEOUT_S: Final = 10.0
# Out of descriptors while accepting: some may have been closed by then.
_ACCEPT_AGAIN_S: Final = 1.0


class ServerListener:
    """The listening socket and the one connection.

    ``expected_pid`` is asked at each connection: the only process that may be the server, -1
    for none, None for any of the user. ``on_hello`` gets the peer, ``on_message`` what follows;
    ``on_gone`` gets the pid of a peer that is gone, and whether it had sent HELLO.
    """

    def __init__(
        self,
        loop: Loop,
        directory: RunDirectory,
        *,
        uid: int,
        gid: int | None,
        expected_pid: Callable[[], int | None],
        on_hello: Callable[[ServerPeer], None],
        on_message: Callable[[Message, ServerPeer], None],
        on_gone: Callable[[int, bool], None],
    ) -> None:
        """Listens on the socket of the directory from now on. Raises OSError."""
        self._loop = loop
        self._directory = directory
        self._uid = uid
        self._gid = gid
        self._expected_pid = expected_pid
        self._on_hello = on_hello
        self._on_message = on_message
        self._on_gone = on_gone
        self._peer: ServerPeer | None = None
        self._peer_pid = 0
        self._greeted = False
        self.beats = False
        """Whether the latest peer has announced in HELLO that it beats, and so knows a BEAT."""
        self._hello_timer: Timer | None = None
        self._pidfd = -1  # of the latest peer, until the next one
        self._listen()

    def _listen(self) -> None:
        self._listener = listen(self._directory.socket_path, self._gid)
        # Of the file that bind has made: the socket's own descriptor has another number.
        self._bound = os.lstat(self._directory.socket_path)
        self._watch()

    def _watch(self) -> None:
        self._loop.watch(self._listener.fileno(), READ, self._accept)

    def listen_again(self) -> None:
        """Call it before a server is started: makes directory and socket anew if another process
        has removed or replaced them. Logs instead of raising; a connected server stays."""
        if self._directory.is_ours() and self._is_bound():
            return
        log(f"{self._directory.socket_path} was removed or replaced; it is made again")
        if not self._directory.make_again():
            return
        before = self._listener
        try:
            self._listen()
        except OSError as error:
            log(f"{self._directory.socket_path}: {error.strerror}; jobs run on")
            return
        self._loop.forget(before.fileno())
        before.close()

    def _is_bound(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self._directory.socket_path), self._bound)
        except OSError:
            return False

    @property
    def greeted(self) -> bool:
        """Whether the server is connected and has sent HELLO."""
        return self._peer is not None and self._greeted

    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Sends the server a message that it has not asked for, if it is connected and greeted."""
        if self._peer is not None and self._greeted:
            self._peer.send(message, descriptors)

    def beat(self) -> None:
        """Sends the server a BEAT, unless messages wait for it already."""
        if self._peer is not None and self._greeted and self.beats and not self._peer.waits:
            self._peer.send(Beat())

    def close(self) -> None:
        """Ends the connection, if any, and removes the socket."""
        if self._peer is not None:
            self._peer.close("penstockd ends")
        self._loop.forget(self._listener.fileno())
        self._listener.close()
        if self._is_bound():  # otherwise it is another process's
            os.unlink(self._directory.socket_path)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            log(f"accepting a connection: {error.strerror}")
            self._loop.forget(self._listener.fileno())
            self._loop.after(_ACCEPT_AGAIN_S, self._watch)
            return
        pid, uid = peer_ids(connection)
        why = self._refusal(pid, uid)
        if why is not None:
            log(f"refused the connection of process {pid}: {why}")
            discard(connection)
            return
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError as error:
            log(f"refused the connection of process {pid}: {error.strerror}")
            discard(connection)
            return
        self._peer_pid = pid
        self._greeted = False
        self._peer = ServerPeer(self._loop, connection, self._told, self._closed, self._breaking)
        self._hello_timer = self._loop.after(HELLO_TIMEOUT_S, self._silent)

    def _refusal(self, pid: int, uid: int) -> str | None:
        if uid != self._uid:
            return f"user {uid} is not the server's"
        expected = self._expected_pid()
        if expected is not None and pid != expected:
            return f"the server is process {expected}" if expected > 0 else "no server runs"
        if self._peer is not None:
            return f"process {self._peer_pid} is connected"
        # Two holders of one pipe would each take a part of its bytes. A process that has
        # closed its connection may hold descriptors still; only its end is certain.
        if self._pidfd >= 0 and pid != self._peer_pid and not _ended(self._pidfd):
            return f"process {self._peer_pid}, the server before, is alive"
        return None

    def _told(self, message: Message) -> None:
        assert self._peer is not None
        if self._greeted:
            if isinstance(message, Hello):
                raise protocol.ProtocolError("HELLO was said already")
            self._on_message(message, self._peer)
            return
        if not isinstance(message, Hello):
            raise protocol.ProtocolError(f"{message.kind} before HELLO")
        if message.version != protocol.VERSION:
            raise protocol.ProtocolError(f"version {message.version} is not spoken here")
        self._greeted = True
        self.beats = message.beats
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self._on_hello(self._peer)

    def _silent(self) -> None:
        if self._peer is not None and not self._greeted:
            self._peer.break_off("it has not said HELLO")

    def _breaking(self) -> None:
        """The supervisor's own server is killed first, because it would take the end of its
        connection for the supervisor's end, and kill every job before the next server can have
        them. A server that the supervisor has not started is left alone."""
        if self._expected_pid() == self._peer_pid:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _closed(self, why: str) -> None:
        log(f"the connection of process {self._peer_pid} ended: {why}")
        self._peer = None
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self._on_gone(self._peer_pid, self._greeted)


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
