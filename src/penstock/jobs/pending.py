"""What one job's messages from the supervisor have told so far, and what is in them."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import trio

from ..supervisor.limits import Enforcement, Limits
from .backend import Refused, Started

_LIMIT_FIELDS = frozenset(field.name for field in fields(Limits))


class Pending:
    """One job, from START on. ``kill_fd`` is of its cgroup.kill, -1 without one."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: Started | Refused | None = None
        self.exited = trio.Event()
        self.status: int | None = None
        self.timed_out = False
        self.emptied = trio.Event()
        self.killed = 0
        self.counters: Mapping[str, Any] = {}
        self.lost = ""
        self.kill_fd = -1

    def close(self, *, kill: bool = False) -> None:
        """Frees the descriptor of cgroup.kill, after using it if ``kill``."""
        if self.kill_fd >= 0:
            if kill:
                with contextlib.suppress(OSError):  # the group is gone already
                    os.write(self.kill_fd, b"1")
            os.close(self.kill_fd)
            self.kill_fd = -1


def close_all(fds: list[int]) -> None:
    """Descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)


def read_whole(fd: int) -> bytes:
    """A memfd's content from its beginning; closes it."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read()


def started(message: dict[str, Any], fds: list[int]) -> tuple[Started, int]:
    """What was started, and the descriptor of its cgroup.kill, -1 without one."""
    named = dict(zip(message["fds"], fds, strict=True))
    told = Started(
        pid=message["pid"],
        start_ticks=message["start_ticks"],
        started_ns=message["started_ns"],
        argv=tuple(message["argv"]),
        class_name=message["class"],
        limits=_limits(message["limits"]),
        enforcement=tuple(Enforcement(**entry) for entry in message["enforcement"]),
        usage_files=message["usage"],
        grace_s=message["grace_s"],
        stdout_fd=named["stdout"],
        stderr_fd=named.get("stderr"),
        client_limits=_limits(message["client_limits"]),
        client_enforcement=tuple(Enforcement(**entry) for entry in message["client_enforcement"]),
    )
    return told, named.get("kill", -1)


def _limits(told: Mapping[str, Any]) -> Limits:
    return Limits(**{key: value for key, value in told.items() if key in _LIMIT_FIELDS})
