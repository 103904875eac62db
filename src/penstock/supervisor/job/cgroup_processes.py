"""A job's processes in a cgroup: started, watched to the last one, killed together."""

import os
import signal
from typing import Final, Protocol

from ...policy.limit_classes import Enforcement
from ..cgroups import Group, GroupError, LimitCheck, signal_members
from ..kernel.clone3 import CgroupEntrance
from ..kernel.loop import PRIORITY, READ, Loop, Timer
from ..kernel.reap import reap, reap_ended
from ..logs.supervisor_log import log
from .spawn import Plan, decode_report, spawn
from .tracing import let_tracee_run

# Between two rounds of killing, doubled up to the last. Pure v1 and kernels before cgroup.kill
# (Linux 5.14) need them, because a process can fork while its group is read. Elsewhere the kernel
# kills a group as one and reports when it is empty, so a second round is only a precaution.
_AGAIN_S: Final = 0.005
_AGAIN_NOTIFIED_S: Final = 0.1
_AGAIN_LAST_S: Final = 1.0


class Events(Protocol):
    """What Processes report, each once: started or failed; after started, exited; then emptied.

    ``failed`` comes when the child is gone. ``status`` is that of wait(2), None if it
    cannot be known.
    """

    def started(self, pid: int) -> None: ...
    def failed(self, stage: str, errno: int) -> None: ...
    def exited(self, status: int | None, rusage: dict[str, float]) -> None: ...
    def emptied(self, killed: int, counters: dict[str, float]) -> None: ...


class Processes(Protocol):
    """A job's process tree, however it is confined. Nothing here blocks."""

    usage_files: dict[str, str]
    limit_check: LimitCheck | None
    """Reads the job's limits again; None where nothing holds them."""

    @property
    def entries(self) -> list[Enforcement]:
        """Which of the job's limits the kernel holds, as they were read last."""
        ...

    @property
    def client_entries(self) -> list[Enforcement]:
        """The same for its client's totals; empty where those are not limited."""
        ...

    def start(self, plan: Plan, events: Events) -> None:
        """Forks. Raises OSError or GroupError; nothing is left then but what close removes."""
        ...

    def entrance(self) -> CgroupEntrance:
        """How the plan's child gets into the group. Raises GroupError."""
        ...

    def kill_fd(self) -> int | None:
        """A descriptor that kills the tree when 1 is written to it, the caller's to close."""
        ...

    def signal(self, number: int, tree: bool = False) -> int:
        """Sends it to the main process, or to all; how many got it."""
        ...

    def freeze(self, frozen: bool) -> None:
        """Asks the kernel to freeze all, or to thaw them, and returns at once: see ``frozen``.
        Raises GroupError."""
        ...

    def frozen(self) -> bool:
        """Whether all stand still by now. Raises GroupError."""
        ...

    def let_run(self) -> list[str]:
        """Sends SIGCONT to all, and undoes what else keeps them from running, as far as it can.
        Returns what was in the way, or still is, for the log."""
        ...

    def kill(self) -> int:
        """Sends KILL to all; how many there were. ``emptied`` follows when none is left."""
        ...

    def pids(self) -> list[int]:
        """The processes that are left, for a report."""
        ...

    def place(self) -> tuple[str, int]:
        """The directory of its group; or "", and the process that all of it is below."""
        ...

    def close(self) -> bool:
        """Frees what a tree holds that has ended or was never started. False: its group is still
        busy, so the caller must try again later."""
        ...


class CgroupProcesses:
    """The tree of one job, held by a Group."""

    def __init__(self, loop: Loop, group: Group) -> None:
        self._loop = loop
        self._group = group
        self._events: Events | None = None
        self._pid = 0
        self._pidfd = -1
        self._report_fd = -1
        self._failure: tuple[str, int] | None = None
        self._killed = 0
        self._inits = 0  # processes of ours in the group, which are none of the job's
        self._again_s = _AGAIN_S
        self._again: Timer | None = None
        self.usage_files = group.usage_files
        self.limit_check: LimitCheck | None = group.limit_check

    @property
    def entries(self) -> list[Enforcement]:
        return self._group.entries

    @property
    def client_entries(self) -> list[Enforcement]:
        return self._group.client_entries

    def entrance(self) -> CgroupEntrance:
        return self._group.entrance()

    def kill_fd(self) -> int | None:
        return self._group.kill_fd()

    def start(self, plan: Plan, events: Events) -> None:
        self._events = events
        self._inits = int(plan.isolation.pids)
        try:
            self._pid, self._report_fd = spawn(plan)
        finally:
            self._group.close_entrance()
        try:
            self._pidfd = os.pidfd_open(self._pid)
        except OSError:  # out of descriptors, so this process could not wait for the child
            os.close(self._report_fd)
            os.kill(self._pid, signal.SIGKILL)
            reap(self._pid)
            raise
        self._loop.watch(self._report_fd, READ, self._reported)
        self._loop.watch(self._pidfd, READ, self._exited)

    def signal(self, number: int, tree: bool = False) -> int:
        if tree:
            self._group.gather()
            return max(0, signal_members(self._group.pids, number, self._pid) - self._inits)
        if self._pidfd < 0:
            return 0
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return 0
        return 1

    def freeze(self, frozen: bool) -> None:
        self._group.gather()
        self._group.freeze(frozen)

    def frozen(self) -> bool:
        return self._group.frozen()

    def let_run(self) -> list[str]:
        moved = self._group.gather()
        # Before they are thawed, so that no stop is left for when they are. To all, as service
        # managers do it, because /proc cannot name all stopped processes of a tree at one moment.
        signal_members(self._group.pids, signal.SIGCONT)
        try:
            found = self._group.thaw()
        except (GroupError, OSError) as error:
            found = [str(error)]
        # It was not reaped yet, so the pid is still its own.
        if self._pidfd >= 0 and (why := let_tracee_run(self._pid)):
            found.append(why)
        return [f"process {pid} was in a group of others" for pid in moved] + found

    def kill(self) -> int:
        try:
            count = max(0, self._group.kill() - self._inits)
        except GroupError as error:
            log(str(error))
            count = len(self._group.pids())
        # Not the sum, because a process that was slow to die is counted in each round.
        self._killed = max(self._killed, count)
        return count

    def pids(self) -> list[int]:
        return self._group.pids()

    def place(self) -> tuple[str, int]:
        return self._group.path, 0

    def close(self) -> bool:
        self._stop_looking()
        return self._group.remove()

    def _reported(self) -> None:
        """The report pipe has something, or its end: no other event comes before it."""
        if self._report_fd < 0:
            return
        self._loop.forget(self._report_fd)
        self._failure = decode_report(os.read(self._report_fd, 64))
        os.close(self._report_fd)
        self._report_fd = -1
        if self._failure is None and self._events is not None:
            self._group.follow(self._pid)
            self._events.started(self._pid)

    def _exited(self) -> None:
        self._reported()  # the child's end of that pipe is closed now at the latest
        self._loop.forget(self._pidfd)
        if self._populated():
            self.kill()  # what the main process left behind ends with it
        self._group.limit_check.end()
        # After the kill, because one of them may trace the main process, and the kernel keeps its
        # status for a tracer.
        reap_ended(self._loop, self._pid, self._reaped)

    def _reaped(self, status: int | None, rusage: dict[str, float]) -> None:
        os.close(self._pidfd)
        self._pidfd = -1
        assert self._events is not None
        if self._failure is not None:
            events, self._events = self._events, None
            events.failed(*self._failure)
            return
        self._events.exited(status, rusage)
        notify_fd = self._group.notify_fd()
        if notify_fd is not None:
            self._again_s = _AGAIN_NOTIFIED_S
            self._loop.watch(notify_fd, PRIORITY, self._look)
        self._look()

    def _populated(self) -> bool:
        try:
            return self._group.populated()
        except (GroupError, OSError) as error:
            log(f"cannot see whether a group is empty: {error}")
            return bool(self._group.pids())

    def _look(self) -> None:
        """Looks again after registering, because the change may have come before."""
        if self._events is None:
            return
        if self._populated():
            if self._again is None or not self._again.pending:
                self._again = self._loop.after(self._again_s, self._kill_again)
                self._again_s = min(_AGAIN_LAST_S, self._again_s * 2)
            return
        self._stop_looking()
        events, self._events = self._events, None
        events.emptied(self._killed, self._group.counters())

    def _kill_again(self) -> None:
        if self._populated():
            self.kill()
        self._look()

    def _stop_looking(self) -> None:
        if self._again is not None:
            self._again.cancel()
        notify_fd = self._group.notify_fd()
        if notify_fd is not None:
            self._loop.forget(notify_fd)
