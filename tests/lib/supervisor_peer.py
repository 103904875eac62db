"""A small server's end of the supervisor's socket, for tests. Every wait is bounded."""

import array
import json
import os
import select
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patience import patient
from pidfds import open_pidfd

from penstock.supervisor.ipc import protocol
from penstock.supervisor.ipc.from_supervisor import FROM_SUPERVISOR

# Of any single wait; what is waited for takes milliseconds.
PATIENCE_S = patient(20)


@dataclass
class Started:
    """What STARTED said, and its pipes."""

    id: str
    pid: int
    message: dict[str, Any]
    fds: dict[str, int]

    def read(self, name: str = "stdout", *, until: bytes | None = None) -> bytes:
        """What the job printed: to the end of file, or until it has printed this."""
        data = b""
        deadline = time.monotonic() + PATIENCE_S
        while until is None or until not in data:
            ready, _, _ = select.select([self.fds[name]], [], [], deadline - time.monotonic())
            assert ready, f"{name} of the job: nothing more after {data!r}"
            part = os.read(self.fds[name], 65536)
            if not part:
                break
            data += part
        return data


class Peer:
    """A connection to a supervisor. Every wait is bounded; ``close`` frees all descriptors."""

    def __init__(self, where: Path | socket.socket) -> None:
        """``where``: the path to connect to, or a connection."""
        if isinstance(where, socket.socket):
            self.socket = where
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.socket.connect(str(where))
        self.socket.settimeout(PATIENCE_S)
        self.policy = b""
        self._fds: list[int] = []
        self._early: list[dict[str, Any]] = []

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()
        self.close_fds()

    def close_fds(self) -> None:
        """Closes every descriptor that has come so far."""
        while self._fds:
            os.close(self._fds.pop())

    def send(self, kind: str, **fields: Any) -> None:
        """One message, well-formed or not."""
        self.socket.send(json.dumps({"type": kind, **fields}).encode())

    def receive(self) -> dict[str, Any] | None:
        """The next message, with its descriptors as ``_fds``; None at the end."""
        data, ancillary, _, _ = self.socket.recvmsg(protocol.MAX_MESSAGE_BYTES, 2048)
        received = array.array("i")
        for _, _, content in ancillary:
            received.frombytes(content)
        self._fds += received
        if not data:
            return None
        kind, message = protocol.decode_fields(data, FROM_SUPERVISOR)
        return {"type": kind, **message, "_fds": list(received)}

    def wait(self, kind: str | Sequence[str], job_id: str | None = None) -> dict[str, Any]:
        """The next message of a kind (and job); others are kept for later waits."""
        kinds = (kind,) if isinstance(kind, str) else tuple(kind)

        def fits(message: dict[str, Any]) -> bool:
            return message["type"] in kinds and job_id in (None, message.get("id"))

        for index, message in enumerate(self._early):
            if fits(message):
                return self._early.pop(index)
        while True:
            message_or_end = self.receive()
            assert message_or_end is not None, f"the connection ended before {kind}"
            if fits(message_or_end):
                return message_or_end
            self._early.append(message_or_end)

    def is_ended(self) -> bool:
        """Waits for the end of the connection; False if a message comes instead."""
        try:
            return self.receive() is None
        except ConnectionResetError:
            return True

    def hello(self) -> dict[str, Any]:
        """Says HELLO; the WELCOME."""
        self.send("HELLO", version=protocol.VERSION, pid=os.getpid())
        welcome = self.wait("WELCOME")
        self.policy = os.pread(welcome["_fds"][0], 1 << 20, 0)
        self.generation = welcome["generation"]
        return welcome

    def request(self, command: str, *arguments: str, **fields: Any) -> str:
        """Sends a START; the job's id."""
        start: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "opaque": "",
            "client": "alice",
            "policy": self.generation,
            "command": command,
            "arguments": arguments,
            "env": {},
            "timeout_s": None,
            **fields,
        }
        self.send("START", **start)
        return str(start["id"])

    def start(self, command: str, *arguments: str, **fields: Any) -> Started:
        """Starts a job, which must succeed."""
        job_id = self.request(command, *arguments, **fields)
        message = self.wait(("STARTED", "REFUSED"), job_id)
        assert message["type"] == "STARTED", message
        fds = dict(zip(message["fds"], message["_fds"], strict=True))
        return Started(job_id, message["pid"], message, fds)

    def refused(self, command: str, *arguments: str, **fields: Any) -> dict[str, Any]:
        """A START that must fail: the REFUSED."""
        job_id = self.request(command, *arguments, **fields)
        message = self.wait(("STARTED", "REFUSED"), job_id)
        assert message["type"] == "REFUSED", message
        return message

    def end(self, job: Started) -> tuple[dict[str, Any], dict[str, Any]]:
        """EXITED and EMPTIED, in this order, then released."""
        exited = self.wait(("EXITED", "EMPTIED"), job.id)
        assert exited["type"] == "EXITED"
        emptied = self.wait("EMPTIED", job.id)
        self.send("RELEASE", id=job.id)
        return exited, emptied


def wait_dead(pid: int) -> bool:
    """Waits until a process, not our child, has ended; a zombie has."""
    if (fd := open_pidfd(pid)) is None:
        return True
    try:
        return bool(select.select([fd], [], [], PATIENCE_S)[0])
    finally:
        os.close(fd)
