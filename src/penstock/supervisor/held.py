"""A job as the supervisor holds it: its processes, pipes, timer and directory, until RELEASE."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, Protocol

from . import protocol, workdirs
from .limits import Enforcement, LimitClass
from .loop import Loop, Timer
from .policy import Command
from .process import Processes
from .spawn import Plan

_REMOVE_AGAIN_S: Final = 0.02  # a v1 group can be busy for a moment after its last process
_REMOVE_TRIES: Final = 250


class Send(Protocol):
    """Peer.send, or nothing while no server is connected."""

    def __call__(
        self, kind: str, descriptors: list[int] | None = None, /, **fields: Any
    ) -> None: ...


class HeldJob:
    """One job. ``on_forgotten`` is called when nothing of it is left anywhere."""

    def __init__(
        self,
        loop: Loop,
        job_id: str,
        opaque: str,
        command: Command,
        limit_class: LimitClass,
        processes: Processes,
        on_forgotten: Callable[[str], None],
    ) -> None:
        self.id = job_id
        self.opaque = opaque
        self.send: Send = _nobody
        self._loop = loop
        self._command = command
        self._class = limit_class
        self._processes = processes
        self._on_forgotten = on_forgotten
        self._argv: list[str] = []
        self._fds: dict[str, int] = {}
        self._workdir: str | None = None
        self._timeout_s: float | None = None
        self._timer: Timer | None = None
        self._timed_out = False
        self._ended = False
        self._released = False

    @property
    def enforcement(self) -> list[Enforcement]:
        """Of every limit; output is kept by the server's own reader task."""
        asked = self._class.limits.output_bytes_per_s
        output = Enforcement(
            "output",
            "unavailable" if asked is None else "enforced",
            "" if asked is None else str(asked),
            "no limit set" if asked is None else "kept by penstock itself",
        )
        return [*self._processes.enforcement, output]

    def start(
        self, plan: Plan, pipes: dict[str, int], workdir: str | None, timeout_s: float | None
    ) -> None:
        """Forks. ``pipes`` (read ends) and ``workdir`` are this job's from now on.

        Raises OSError or GroupError; forget frees everything then, too.
        """
        self._fds = pipes
        self._workdir = workdir
        self._argv = list(plan.argv)
        self._timeout_s = timeout_s
        self._processes.start(plan, self)

    def signal(self, number: int) -> int:
        """To the main process; how many got it."""
        return self._processes.signal(number)

    def kill(self) -> int:
        """KILL to all; how many there were."""
        return 0 if self._ended else self._processes.kill()

    def release(self) -> None:
        """The end record is durable, or nobody wants one."""
        self._released = True
        if self._ended:
            self.forget()

    def abandon(self) -> None:
        """No server can take it over: kill it, and forget it when it is gone."""
        self.send = _nobody
        self.kill()
        self.release()

    # What the processes tell (process.Events).

    def started(self, pid: int) -> None:
        if self._timeout_s is not None:
            self._timer = self._loop.after(self._timeout_s, self._timeout)
        fds = dict(self._fds)
        kill_fd = self._processes.kill_fd()
        if kill_fd is not None:
            fds["kill"] = kill_fd
        self.send(
            protocol.STARTED,
            list(fds.values()),
            id=self.id,
            pid=pid,
            start_ticks=_start_ticks(pid),
            started_ns=time.time_ns(),
            argv=self._argv,
            **{"class": self._class.name},
            limits=asdict(self._class.limits),
            enforcement=[asdict(entry) for entry in self.enforcement],
            usage=self._processes.usage_files,
            grace_s=self._command.grace_s,
            fds=list(fds),
        )
        if kill_fd is not None:
            os.close(kill_fd)
        if self._released:  # abandoned while it started
            self.kill()

    def failed(self, stage: str, errno: int) -> None:
        reason = os.strerror(errno) if errno else "unexpected failure"
        self.send(
            protocol.REFUSED,
            id=self.id,
            fault=protocol.EXECUTABLE if stage == "exec" else protocol.FAILED,
            stage=stage,
            errno=errno,
            message=f"{self._command.name} could not be started: {stage}: {reason}",
        )
        self._ended = True
        self.forget()

    def exited(self, status: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.send(protocol.EXITED, id=self.id, status=status, timed_out=self._timed_out)

    def emptied(self, killed: int, counters: dict[str, Any]) -> None:
        self._ended = True
        self.send(protocol.EMPTIED, id=self.id, killed=killed, counters=counters)
        if self._released:
            self.forget()

    def _timeout(self) -> None:
        self._timed_out = True
        self.signal(signal.SIGTERM)
        self._timer = self._loop.after(self._command.grace_s, lambda: _ignore(self.kill()))

    def start_failed(self, workdir: str | None) -> None:
        """Nothing was forked; the pipes are the caller's still."""
        self._fds = {}
        self._workdir = workdir
        self._ended = True
        self.forget()

    def forget(self) -> None:
        """Frees everything; calls on_forgotten when it is done."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}
        self._remove_group(_REMOVE_TRIES)

    def _remove_group(self, tries: int) -> None:
        if not self._processes.close() and tries:
            self._loop.after(_REMOVE_AGAIN_S, lambda: self._remove_group(tries - 1))
            return
        if self._workdir is None:
            self._on_forgotten(self.id)
        else:
            workdirs.remove(self._loop, self._workdir, lambda: self._on_forgotten(self.id))


def _nobody(kind: str, descriptors: list[int] | None = None, /, **fields: Any) -> None:
    """No server is connected."""


def _ignore(_: int) -> None:
    """A timer's callback answers nothing."""


def _start_ticks(pid: int) -> int:
    """Field 22 of /proc/<pid>/stat, which with the boot id names a process for ever."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rsplit(b")", 1)[1].split()[19])
    except OSError:
        return 0
