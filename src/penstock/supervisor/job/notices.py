"""What is reported of one job to the server, and what a server that comes later has missed."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from ..cgroups import LimitChange
from ..ipc.from_supervisor import (
    MOST_CHANGES,
    Changed,
    Emptied,
    Exited,
    FoundChange,
    Held,
    RefusedMessage,
    StartedMessage,
)
from ..ipc.server_socket import Send, nobody
from .cgroup_processes import Processes
from .effective_start import EffectiveStart, MainProcess


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a job's first message brings: its pipes by name, which stay the job's, and one that
    ends its group, which is the caller's to close."""

    pipes: Callable[[], dict[str, int]]
    kill: Callable[[], int | None]


class Notices:
    """Sends STARTED, EXITED, EMPTIED in this order, or REFUSED. A server that came later gets HELD
    instead of STARTED. ``send`` is ``nobody`` while no server is connected."""

    def __init__(
        self,
        job_id: str,
        opaque: str,
        start: EffectiveStart,
        processes: Processes,
        fds: Descriptors,
    ) -> None:
        self.send: Send = nobody
        self._id = job_id
        self._opaque = opaque
        self._start = start
        self._processes = processes
        self._descriptors = fds
        self._refusal: RefusedMessage | None = None
        self._handed_over = False
        self._main: MainProcess | None = None
        self._later: list[Exited | Emptied] = []
        self._changes: list[FoundChange] = []

    @property
    def has_started(self) -> bool:
        """Whether STARTED was due, whether or not a server was connected."""
        return self._main is not None

    @property
    def refused(self) -> bool:
        """Whether the job counts as not started, so that nothing but REFUSED is sent of it."""
        return self._refusal is not None

    def describe(self) -> str:
        """For the operator: PID (0 before it has one), client and command."""
        pid = 0 if self._main is None else self._main.pid
        return f"{pid} {self._start.client} {self._start.command.name}"

    def started(self, main: MainProcess, *, paused: bool) -> None:
        """Sends STARTED with the job's descriptors."""
        self._main = main
        self._tell_started(main, paused)

    def later(self, message: Exited | Emptied) -> None:
        """Sends EXITED or EMPTIED, and keeps it for a later server. Nothing if it was refused."""
        if self._refusal is None:
            self._later.append(message)
            self.send(message)

    def changed(self, changes: Sequence[LimitChange]) -> None:
        """Sends CHANGED, each change to one server once; kept while none is connected, the latest
        MOST_CHANGES."""
        self._changes = [*self._changes, *(FoundChange(**asdict(each)) for each in changes)][
            -MOST_CHANGES:
        ]
        self._tell_changes()

    def refuse(self, refusal: RefusedMessage) -> None:
        """Keeps the refusal for ``tell_refusal``. The first one counts."""
        if self._refusal is None:
            self._refusal = refusal

    def tell_refusal(self) -> None:
        """Sends REFUSED if the job was refused, and nothing after it."""
        if self._refusal is not None:
            self.send(self._refusal)
            self.send = nobody

    def hand_over(self, send: Send, *, paused: bool) -> None:
        """Sends a server that has come since all that it has missed, and then what follows."""
        self.send = send
        self._handed_over = True
        if self._main is not None:  # otherwise it is starting, and STARTED follows
            self._tell_started(self._main, paused)
            self._tell_changes()
            for message in self._later:
                self.send(message)

    def _tell_started(self, main: MainProcess, paused: bool) -> None:
        started = self._start.started(main, self._processes)
        fds = self._descriptors.pipes()
        kill_fd = self._descriptors.kill()
        if kill_fd is not None:
            fds["kill"] = kill_fd
        names = tuple(fds)
        if self._handed_over:
            held = Held(self._id, started, self._opaque, paused, names)
            self.send(held, list(fds.values()))
        else:
            self.send(StartedMessage(self._id, started, names), list(fds.values()))
        if kill_fd is not None:
            os.close(kill_fd)

    def _tell_changes(self) -> None:
        if self.send is nobody or not self._changes:
            return
        changes, self._changes = self._changes, []
        self.send(Changed(self._id, self._start.held(self._processes), tuple(changes)))
