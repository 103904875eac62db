"""What one job's messages from the supervisor have told so far, and what is in them."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any

import trio

from ...policy.control_policy import control_of
from ...policy.limit_classes import Enforcement, ResourceLimits
from .base import InputPipes, LimitsChanged, ReplacedFile, Started, StartRefused

_LIMIT_FIELDS = frozenset(field.name for field in fields(ResourceLimits))
# Jobs of a class are told the same again and again; what is equal is kept once, which is a
# good part of what an idle job costs.
_shared_limits = lru_cache(maxsize=256)(ResourceLimits)
_shared_enforcement = lru_cache(maxsize=1024)(Enforcement)


class JobState:
    """One job, from START on. ``kill_fd`` is of its cgroup.kill, -1 without one."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: Started | StartRefused | None = None
        self.replaced: tuple[ReplacedFile, ...] = ()
        """In place of an answer: what is to be written down before the START is repeated."""
        self.left_alone = False
        """Who asked for it was cancelled: nobody will have its pipes from here."""
        self.exited = trio.Event()
        self.status: int | None = None
        self.timed_out = False
        self.escalated = False
        self.storage_full = False
        self.emptied = trio.Event()
        self.killed = 0
        self.counters: Mapping[str, Any] = {}
        self.lost = ""
        self.paused = False
        self.kill_fd = -1

    def kill(self) -> None:
        """KILL to the whole group, without the supervisor, where there is a descriptor for it."""
        if self.kill_fd >= 0:
            with contextlib.suppress(OSError):  # the group is gone already
                os.write(self.kill_fd, b"1")

    def close(self, *, kill: bool = False) -> None:
        """Frees the descriptor of cgroup.kill, after using it if ``kill``."""
        if self.kill_fd >= 0:
            if kill:
                self.kill()
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


def _input(named: dict[str, int]) -> InputPipes | None:
    if "stdin" not in named:
        return None
    return InputPipes(named["stdin"], named["input_read"], named["input_write"])


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
        enforcement=_enforcements(message["enforcement"]),
        usage_files={sys.intern(name): path for name, path in message["usage"].items()},
        grace_s=message["grace_s"],
        timeout_s=message["timeout_s"],
        stdout_fd=named["stdout"],
        stderr_fd=named.get("stderr"),
        client_limits=_limits(message["client_limits"]),
        client_enforcement=_enforcements(message["client_enforcement"]),
        input=_input(named),
        control=control_of(message["control"]),
        uid=message["uid"],
    )
    return told, named.get("kill", -1)


def limits_changed(message: Mapping[str, Any]) -> LimitsChanged:
    """What CHANGED tells. Not shared: each has the moment in it."""
    return LimitsChanged(
        tuple(Enforcement(**entry) for entry in message["enforcement"]),
        tuple(Enforcement(**entry) for entry in message["client_enforcement"]),
        tuple(message["changes"]),
    )


def _limits(told: Mapping[str, Any]) -> ResourceLimits:
    return _shared_limits(**{key: value for key, value in told.items() if key in _LIMIT_FIELDS})


def _enforcements(told: Sequence[Mapping[str, Any]]) -> tuple[Enforcement, ...]:
    return tuple(_shared_enforcement(**entry) for entry in told)
