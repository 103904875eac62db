"""What the server is told of one job, and what a server that comes later has missed."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..cgroups import LimitChange
from ..ipc import protocol
from ..ipc.message_forms import MOST_CHANGES
from ..ipc.server_socket import Send, nobody
from .cgroup_processes import Processes
from .terms import Terms


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
        self, job_id: str, opaque: str, terms: Terms, processes: Processes, fds: Descriptors
    ) -> None:
        self.send: Send = nobody
        self._id = job_id
        self._opaque = opaque
        self._terms = terms
        self._processes = processes
        self._descriptors = fds
        self._refusal: dict[str, Any] | None = None
        self._handed_over = False
        self._started: dict[str, Any] | None = None
        self._later: list[tuple[str, dict[str, Any]]] = []
        self._changes: list[dict[str, Any]] = []

    @property
    def has_started(self) -> bool:
        """STARTED was for telling, whether or not anybody was there."""
        return self._started is not None

    @property
    def refused(self) -> bool:
        """It counts as not started, and nothing else is told of it."""
        return self._refusal is not None

    def started(self, about: dict[str, Any], *, paused: bool) -> None:
        """STARTED; ``about`` is of the process alone."""
        self._started = {"id": self._id, **about}
        self._tell_started(paused)

    def later(self, kind: str, about: dict[str, Any]) -> None:
        """EXITED or EMPTIED; kept for whoever comes. Nothing where it was refused."""
        if self._refusal is None:
            self._later.append((kind, about))
            self.send(kind, id=self._id, **about)

    def changed(self, changes: Sequence[LimitChange]) -> None:
        """CHANGED, once to one server: the latest MOST_CHANGES."""
        self._changes = [*self._changes, *(asdict(each) for each in changes)][-MOST_CHANGES:]
        self._tell_changes()

    def refuse(self, refusal: dict[str, Any]) -> None:
        """What tell_refusal says, without the id. The first one counts."""
        if self._refusal is None:
            self._refusal = {"id": self._id, **refusal}

    def tell_refusal(self) -> None:
        """REFUSED, if it is, and nothing after it."""
        if self._refusal is not None:
            self.send(protocol.REFUSED, **self._refusal)
            self.send = nobody

    def hand_over(self, send: Send, *, paused: bool) -> None:
        """To a server that has come since: all that it has missed, and what follows."""
        self.send = send
        self._handed_over = True
        if self._started is not None:  # else it starts still, and will tell
            self._tell_started(paused)
            self._tell_changes()
            for kind, about in self._later:
                self.send(kind, id=self._id, **about)

    def _tell_started(self, paused: bool) -> None:
        assert self._started is not None
        kind, about = protocol.STARTED, self._started | self._terms.fields(self._processes)
        if self._handed_over:
            kind, about = protocol.HELD, about | {"opaque": self._opaque, "paused": paused}
        fds = self._descriptors.pipes()
        kill_fd = self._descriptors.kill()
        if kill_fd is not None:
            fds["kill"] = kill_fd
        self.send(kind, list(fds.values()), **about, fds=list(fds))
        if kill_fd is not None:
            os.close(kill_fd)

    def _tell_changes(self) -> None:
        if self.send is nobody or not self._changes:
            return
        changes, self._changes = self._changes, []
        terms, processes = self._terms, self._processes
        self.send(
            protocol.CHANGED,
            id=self._id,
            enforcement=[each.fields() for each in terms.enforcement(processes)],
            client_enforcement=[each.fields() for each in terms.client_enforcement(processes)],
            changes=changes,
        )
