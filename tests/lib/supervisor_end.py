"""The supervisor's end of LocalBackend's socket, in a test's hands."""

import array
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from penstock.jobs.backends.base import (
    JobSpec,
    StartedJob,
    StartRefused,
)
from penstock.jobs.backends.local import LocalBackend
from penstock.policy.control_policy import Control
from penstock.policy.limit_classes import ResourceLimits
from penstock.supervisor.ipc import protocol
from penstock.supervisor.ipc.from_server import FROM_SERVER

JOB = "a" * 32
STARTED: dict[str, Any] = {
    "id": JOB,
    "pid": 7,
    "start_ticks": 1,
    "started_ns": 1,
    "argv": ["/bin/sleep"],
    "uid": 1000,
    "class": "small",
    "limits": ResourceLimits().fields(),
    "enforcement": [],
    "client_limits": ResourceLimits().fields(),
    "client_enforcement": [],
    "usage": {},
    "grace_s": 1.0,
    "timeout_s": None,
    "control": Control().fields(),
}
WELCOME: dict[str, Any] = {
    "version": protocol.VERSION,
    "mode": "user",
    "kind": "tree",
    "boot_id": "b",
    "limits": [],
    "policy": "h",
    "max_jobs": 9,
    "swept": {"jobs": [], "processes": 0, "groups_left": 0},
    "warnings": [],
}


def exited(status: int | None, **changed: Any) -> dict[str, Any]:
    """The fields of an EXITED."""
    about = {"timed_out": False, "escalated": False, "storage_full": False, "rusage": {}}
    return {"id": JOB, "status": status, **about, **changed}


class Supervisor:
    """The other end; ``say`` and ``heard`` never block."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def say(self, kind: str, fds: list[int] | None = None, /, **fields: Any) -> None:
        ancillary = []
        if fds:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        self._sock.sendmsg([protocol.encode_fields(kind, fields)], ancillary)
        for fd in fds or ():
            os.close(fd)

    def has_said(self, kind: str, **fields: Any) -> bool:
        """False: there was no room for it."""
        try:
            self.say(kind, **fields)
        except BlockingIOError:
            return False
        return True

    def heard(self) -> dict[str, Any]:
        data = self._sock.recv(protocol.MAX_MESSAGE_BYTES)
        kind, message = protocol.decode_fields(data, FROM_SERVER)
        return {"type": kind, **message}

    def die(self) -> None:
        self._sock.close()


def welcome(supervisor: Supervisor, *kill_fd: int, beats: bool = False) -> None:
    policy = os.memfd_create("policy")
    about = WELCOME | {"beats": beats}
    names = ["policy", "kill"][: 1 + len(kill_fd)]
    supervisor.say("WELCOME", [policy, *kill_fd], **about, fds=names)


@asynccontextmanager
async def connected(
    *kill_fd: int, beats: bool = False
) -> AsyncIterator[tuple[LocalBackend, Supervisor]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    supervisor = Supervisor(theirs)
    with trio.socket.from_stdlib_socket(ours) as sock:
        backend = LocalBackend(sock)
        welcome(supervisor, *kill_fd, beats=beats)
        await backend.greet()
        supervisor.heard()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.run)
            yield backend, supervisor
            supervisor.die()
        await backend.wait_closed()


async def started(backend: LocalBackend, supervisor: Supervisor) -> StartedJob:
    answers: list[StartedJob | StartRefused] = []

    async def start() -> None:
        answers.append(await backend.start(JOB, JobSpec("sleep"), "alice"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        await trio.testing.wait_all_tasks_blocked()
        supervisor.heard()
        pipe_read, pipe_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.close(pipe_write)
        supervisor.say("STARTED", [pipe_read], **STARTED, fds=["stdout"])
    (answer,) = answers
    assert isinstance(answer, StartedJob)
    return answer
