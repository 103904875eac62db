"""A real supervisor with servers of its own whose connections are in a test's hands."""

import array
import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervisor_peer import PATIENCE_S, Peer, wait_dead
from supervisor_process import IS_ROOT, SUPERVISOR, Supervisor, running_supervisor
from this_run import new_directory

# A server that connects, hands its connection to the test, and lives until the test lets it go.
_SERVER = """
import array, os, socket, sys
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.connect(sys.argv[1])
test = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
test.connect(sys.argv[2])
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [peer.fileno()]))]
test.sendmsg([str(os.getpid()).encode()], rights)
peer.close()
test.recv(1)
"""
# The whole supervisor, but for which server it starts.
_PROGRAM = """
import os, sys
sys.path.insert(0, {source!r})
from penstock.supervisor import command_line, daemon
def server_command(config, run_dir):
    path = os.path.join(run_dir, "supervisor.sock")
    return [sys.executable, "-I", "-c", {server!r}, path, {test!r}]
daemon.server_command = server_command
sys.exit(command_line.main(sys.argv[1:]))
"""


class HandedServer:
    """One server. ``peer`` speaks for it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(PATIENCE_S)
        data, ancillary, _, _ = connection.recvmsg(100, socket.CMSG_SPACE(4))
        ((_, _, content),) = ancillary
        self.pid = int(data)
        self.peer = Peer(socket.socket(fileno=array.array("i", content)[0]))

    def serve(self) -> dict[str, Any]:
        """HELLO and SERVING; the WELCOME."""
        welcome = self.peer.hello()
        self.peer.send("SERVING")
        return welcome

    def prepared(self, *mistakes: str) -> dict[str, Any]:
        """The answer to the PREPARE that comes next, which is returned; files as ``policy`` and
        ``configuration``."""
        prepare = self.peer.wait("PREPARE")
        for name, fd in zip(prepare["fds"], prepare["_fds"], strict=True):
            prepare[f"{name}_bytes"] = os.pread(fd, 1 << 20, 0)
        self.peer.send("PREPARED", number=prepare["number"], mistakes=list(mistakes))
        return prepare

    def switched(self, *changes: str) -> dict[str, Any]:
        """The answer to the SWITCH that comes next, which is returned."""
        switch = self.peer.wait("SWITCH")
        self.peer.send("SWITCHED", number=switch["number"], changes=list(changes))
        return switch

    def kill(self) -> None:
        """As KILL ends it: its connection, too."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.close()
        wait_dead(self.pid)

    def close(self) -> None:
        self.peer.close()
        self._connection.close()


class Handed:
    """A supervisor, and the servers that it starts, one after another."""

    def __init__(self, supervisor: Supervisor, listener: socket.socket) -> None:
        self.supervisor = supervisor
        self._listener = listener
        self.servers: list[HandedServer] = []

    @property
    def config(self) -> Path:
        return self.supervisor.directory / "penstockd.toml"

    @property
    def policy(self) -> Path:
        return self.supervisor.directory / "policy.toml"

    def next(self) -> HandedServer:
        """The next server that is started."""
        connection, _ = self._listener.accept()
        self.servers.append(HandedServer(connection))
        return self.servers[-1]

    def ask(self, **request: Any) -> "Asking":
        """A request on control.sock; the answer is waited for later."""
        return Asking(self.supervisor, request)


class Asking:
    """One connection to control.sock."""

    def __init__(self, supervisor: Supervisor, request: Any) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(supervisor.directory / "run" / "control.sock"))
        self.fds: list[int] = []
        if request:
            self.send(json.dumps(request).encode())

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    def is_answered(self) -> bool:
        return bool(select.select([self.socket], [], [], 0)[0])

    def answer(self) -> dict[str, Any]:
        """All parts of the next answer, put together; {} at the end of the connection."""
        found: dict[str, Any] = {}
        while True:
            data, ancillary, _, _ = self.socket.recvmsg(70_000, socket.CMSG_SPACE(40))
            for _, _, content in ancillary:
                self.fds += array.array("i", content)
            if not data:
                return found
            part = json.loads(data)
            for key, value in part.items():
                found[key] = found.get(key, []) + value if isinstance(value, list) else value
            if not part["more"]:
                return found

    def close(self) -> None:
        self.socket.close()
        while self.fds:
            os.close(self.fds.pop())


@contextlib.contextmanager
def handed_supervisor(
    commands: str, *, root: bool = IS_ROOT, clients: str = "", **config: str | float
) -> Iterator[Handed]:
    """As running_supervisor, with servers."""
    place = new_directory("handed")
    path = place / "servers"
    handed = None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        listener.settimeout(PATIENCE_S)
        source = str(SUPERVISOR.parent.parent)
        text = _PROGRAM.format(source=source, server=_SERVER, test=str(path))
        try:
            with running_supervisor(
                commands,
                root=root,
                clients=clients,
                arguments=(),
                program=[sys.executable, "-c", text],
                **config,
            ) as supervisor:
                handed = Handed(supervisor, listener)
                yield handed
                for server in handed.servers:
                    server.close()
        finally:
            for server in handed.servers if handed is not None else []:
                server.close()
            path.unlink()
            place.rmdir()
