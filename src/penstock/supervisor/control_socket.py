"""``control.sock``: where the operator's own commands ask penstockd, and get an answer.

Whoever connects has the rights that penstockd has already: root, or the one user that runs it. That
is what the mode of the file says, and the kernel (SO_PEERCRED) once more. So what is asked here
needs no further permission, and nothing else than the table of control_requests.py can be asked.
Everything is bounded all the same, because a program of the operator's can have bugs, too.
"""

import array
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .ipc.run_directory import RunDirectory
from .ipc.server_socket import discard, listen, peer_ids
from .kernel.loop import READ, WRITE, Loop, Timer
from .logs.supervisor_log import log

MOST_CONNECTIONS: Final = 8
MOST_BYTES: Final = 65_536
IDLE_S: Final = 30.0
_ACCEPT_AGAIN_S: Final = 1.0
_MOST_OF_A_TEXT: Final = 4000

Answer = Mapping[str, object]
Respond = Callable[[Answer, Sequence[int]], None]
"""Sends the answer, with these descriptors, which stay the caller's. Called once, at any time."""
Handle = Callable[[Mapping[str, Any], str, Respond], None]
"""A request, a text that says who has asked, and how to answer."""


def refusal(*mistakes: str) -> Answer:
    """The answer to what cannot be done."""
    return {"ok": False, "mistakes": list(mistakes)}


class ControlSocket:
    """The listening socket and its connections, until ``close``."""

    def __init__(self, loop: Loop, directory: RunDirectory, handle: Handle) -> None:
        """Listens from now on. Raises OSError."""
        self._loop = loop
        self._directory = directory
        self._handle = handle
        self._connections: set[ControlConnection] = set()
        self._listen()

    def _listen(self) -> None:
        self._listener = listen(self._directory.control_path, None, 0o600)
        self._bound = os.lstat(self._directory.control_path)
        self._watch()

    def _watch(self) -> None:
        self._loop.watch(self._listener.fileno(), READ, self._accept)

    def listen_again(self) -> None:
        """Makes it anew if another process has removed or replaced it. Logs instead of raising.

        Nothing is made in a directory that is not held, such as one that a link in the place of
        run_dir leads to, because it is somebody else's.
        """
        if self._is_bound() or not self._directory.is_ours():
            return
        before = self._listener
        try:
            self._listen()
        except OSError as error:
            log(f"{self._directory.control_path}: {error.strerror}; nobody can ask penstockd there")
            return
        self._loop.forget(before.fileno())
        before.close()

    def close(self) -> None:
        """Ends every connection, and removes the socket."""
        for connection in list(self._connections):
            connection.close()
        self._loop.forget(self._listener.fileno())
        self._listener.close()
        if self._is_bound():
            os.unlink(self._directory.control_path)

    def _is_bound(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self._directory.control_path), self._bound)
        except OSError:
            return False

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as error:
            log(f"accepting on control.sock: {error.strerror}")
            self._loop.forget(self._listener.fileno())
            self._loop.after(_ACCEPT_AGAIN_S, self._watch)
            return
        pid, uid = peer_ids(accepted)
        if uid not in (0, os.geteuid()):
            log(f"control.sock: refused process {pid} of user {uid}")
            discard(accepted)
            return
        who = f"process {pid} of user {uid}"
        connection = ControlConnection(
            self._loop, accepted, who, self._handle, self._connections.discard
        )
        self._connections.add(connection)
        if len(self._connections) > MOST_CONNECTIONS:
            connection.end(refusal("too many others ask penstockd at this moment; try again"))


class ControlConnection:
    """One asker. Its requests are answered one after another."""

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        who: str,
        handle: Handle,
        on_closed: Callable[["ControlConnection"], None],
    ) -> None:
        self._loop = loop
        self._socket = connection
        self._who = who
        self._handle = handle
        self._on_closed = on_closed
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._open = True
        self._last = False
        self._idle: Timer | None = None
        connection.setblocking(False)
        self._listen()

    def end(self, answer: Answer) -> None:
        """Answers without a request, and closes."""
        self._last = True
        self._respond(answer, ())

    def close(self) -> None:
        """Ends the connection. A request under way is carried out, and its answer dropped."""
        if not self._open:
            return
        self._open = False
        if self._idle is not None:
            self._idle.cancel()
        self._loop.forget(self._socket.fileno())
        while self._queue:
            for fd in self._queue.popleft()[1]:
                os.close(fd)
        discard(self._socket)
        self._on_closed(self)

    def _listen(self) -> None:
        """Waits for the next request."""
        self._loop.watch(self._socket.fileno(), READ, self._readable)
        self._wait()

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self._loop.after(IDLE_S, self.close)

    def _readable(self) -> None:
        try:
            data, _, flags, _ = self._socket.recvmsg(MOST_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data or flags & socket.MSG_CTRUNC:  # its end, or descriptors, which nothing takes
            self.close()
            return
        # Until it is answered nothing is read, and the kernel reports only that the peer is gone.
        self._loop.watch(self._socket.fileno(), 0, self.close)
        if self._idle is not None:
            self._idle.cancel()
        try:
            request = _request(data)
        except ValueError as error:
            self.end(refusal(f"not a request: {error}"))
            return
        self._handle(request, self._who, self._respond)

    def _respond(self, answer: Answer, descriptors: Sequence[int]) -> None:
        if not self._open:
            return
        messages = split(answer)
        copies = []
        try:
            for fd in descriptors:
                copies.append(os.dup(fd))
        except OSError as error:
            messages = split(refusal(f"penstockd has no free descriptors: {error.strerror}"))
            for fd in copies:
                os.close(fd)
            copies = []
        self._queue.append((messages[0], copies))
        self._queue.extend((message, []) for message in messages[1:])
        self._wait()
        self._flush()

    def _flush(self) -> None:
        while self._queue:
            data, fds = self._queue[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                self._socket.sendmsg([data], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._loop.watch(self._socket.fileno(), WRITE, self._flush)
                return
            except OSError:
                self.close()
                return
            self._queue.popleft()
            for fd in fds:
                os.close(fd)
        if self._last:
            self.close()
        else:
            self._listen()


def _request(data: bytes) -> Mapping[str, Any]:
    """Raises ValueError, also for a message that is too long."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict) or not isinstance(found.get("request"), str):
        raise ValueError('it is no object with the text "request"')
    return found


def split(answer: Answer) -> list[bytes]:
    """The answer as messages of at most MOST_BYTES (pure): lists of texts that are too long for one
    go on in the next, and ``more`` says that there is a next."""
    texts = [
        (key, text if len(text) <= _MOST_OF_A_TEXT else f"{text[:_MOST_OF_A_TEXT]}...")
        for key, value in answer.items()
        if isinstance(value, list)
        for text in value
    ]
    parts: list[dict[str, Any]] = [
        {key: [] if isinstance(value, list) else value for key, value in answer.items()}
    ]
    size = len(json.dumps(parts[0]))
    for key, text in texts:
        size += len(json.dumps(text)) + len(json.dumps(key)) + 8
        if size > MOST_BYTES - 100:
            parts.append({})
            size = len(json.dumps(text)) + len(json.dumps(key)) + 8
        parts[-1].setdefault(key, []).append(text)
    last = len(parts) - 1
    return [json.dumps(part | {"more": index < last}).encode() for index, part in enumerate(parts)]
