"""What the server is told of one job, and what a server that comes later has missed."""

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
    """STARTED, EXITED, EMPTIED in this order, or REFUSED. A server that came later is told HELD
    for STARTED. ``send`` is ``nobody`` while there is none."""

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
        """STARTED was for telling, whether or not anybody was there."""
        return self._main is not None

    @property
    def refused(self) -> bool:
        """It counts as not started, and nothing else is told of it."""
        return self._refusal is not None

    def started(self, main: MainProcess, *, paused: bool) -> None:
        """STARTED."""
        self._main = main
        self._tell_started(main, paused)

    def later(self, message: Exited | Emptied) -> None:
        """EXITED or EMPTIED; kept for whoever comes. Nothing where it was refused."""
        if self._refusal is None:
            self._later.append(message)
            self.send(message)

    def changed(self, changes: Sequence[LimitChange]) -> None:
        """CHANGED, once to one server: the latest MOST_CHANGES."""
        self._changes = [*self._changes, *(FoundChange(**asdict(each)) for each in changes)][
            -MOST_CHANGES:
        ]
        self._tell_changes()

    def refuse(self, refusal: RefusedMessage) -> None:
        """What tell_refusal says. The first one counts."""
        if self._refusal is None:
            self._refusal = refusal

    def tell_refusal(self) -> None:
        """REFUSED, if it is, and nothing after it."""
        if self._refusal is not None:
            self.send(self._refusal)
            self.send = nobody

    def hand_over(self, send: Send, *, paused: bool) -> None:
        """To a server that has come since: all that it has missed, and what follows."""
        self.send = send
        self._handed_over = True
        if self._main is not None:  # else it starts still, and will tell
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
