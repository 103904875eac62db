"""A job's processes in a cgroup: started, watched to the last one, killed together."""

import os
import signal
from typing import Any, Final, Protocol

from .groups import Group, GroupError
from .limits import Enforcement
from .loop import PRIORITY, READ, Loop
from .spawn import Plan, decode_report, spawn

# Pure v1 has nothing that tells when a group empties; this is how often it is looked at then.
_V1_LOOK_S: Final = 0.005


class Events(Protocol):
    """What a process tells, each once: started or failed; then exited; then emptied.

    ``status`` is that of wait(2), None if it cannot be known.
    """

    def started(self, pid: int) -> None: ...
    def failed(self, stage: str, errno: int) -> None: ...
    def exited(self, status: int | None) -> None: ...
    def emptied(self, killed: int, counters: dict[str, Any]) -> None: ...


class Processes(Protocol):
    """A job's process tree, however it is confined. Nothing here blocks."""

    enforcement: list[Enforcement]
    usage_files: dict[str, str]

    def start(self, plan: Plan, events: Events) -> None:
        """Forks. Raises OSError or GroupError; nothing is left then but what close removes."""
        ...

    def enter_fds(self) -> list[int]:
        """What the plan's child writes itself into."""
        ...

    def kill_fd(self) -> int | None:
        """A descriptor that kills the tree when 1 is written to it, the caller's to close."""
        ...

    def signal(self, number: int) -> int:
        """To the main process; how many got it."""
        ...

    def kill(self) -> int:
        """KILL to all; how many there were."""
        ...

    def close(self) -> bool:
        """Frees what an ended or never started tree holds. False: try again later."""
        ...


class GroupProcesses:
    """The tree of one job, held by a Group."""

    def __init__(self, loop: Loop, group: Group) -> None:
        self._loop = loop
        self._group = group
        self._events: Events | None = None
        self._pid = 0
        self._pidfd = -1
        self._killed = 0
        self.enforcement = group.enforcement
        self.usage_files = group.usage_files

    def enter_fds(self) -> list[int]:
        return self._group.enter_fds()

    def kill_fd(self) -> int | None:
        return self._group.kill_fd()

    def start(self, plan: Plan, events: Events) -> None:
        self._events = events
        try:
            self._pid, report_fd = spawn(plan)
        finally:
            self._group.close_enter_fds()

        def reported() -> None:
            self._loop.forget(report_fd)
            failure = decode_report(os.read(report_fd, 64))
            os.close(report_fd)
            if failure is not None:
                os.waitpid(self._pid, 0)
                events.failed(*failure)
                return
            self._pidfd = os.pidfd_open(self._pid)
            events.started(self._pid)
            self._loop.watch(self._pidfd, READ, self._exited)

        self._loop.watch(report_fd, READ, reported)

    def signal(self, number: int) -> int:
        if self._pidfd < 0:
            return 0
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return 0
        return 1

    def kill(self) -> int:
        count = self._group.kill()
        self._killed = max(self._killed, count)
        return count

    def close(self) -> bool:
        notify_fd = self._group.notify_fd()
        if notify_fd is not None:
            self._loop.forget(notify_fd)
        return self._group.remove()

    def _exited(self) -> None:
        _, status = os.waitpid(self._pid, 0)
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        if self._group.populated():
            self.kill()  # the job is its main process; what it left behind goes with it
        assert self._events is not None
        self._events.exited(status)
        notify_fd = self._group.notify_fd()
        if notify_fd is not None:
            self._loop.watch(notify_fd, PRIORITY, self._look)
        self._look()

    def _look(self) -> None:
        """Looked at again after registering, as the change may have come before."""
        notify_fd = self._group.notify_fd()
        if self._group.populated():
            if notify_fd is None:
                self._group.kill()
                self._loop.after(_V1_LOOK_S, self._look)
            return
        if notify_fd is not None:
            self._loop.forget(notify_fd)
        events, self._events = self._events, None
        if events is None:
            return
        try:
            counters = self._group.counters()
        except GroupError:
            counters = {}
        events.emptied(self._killed, counters)
