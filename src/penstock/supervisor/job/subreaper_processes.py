"""A job's tree without cgroups, as the supervisor sees it: a subreaper, and two pipes to it.

subreaper.py has the subreaper itself. Commands are sent down one pipe, events come up the other.
"""

import os
import signal
from typing import Any, Final

from ...policy.limit_classes import GROUP_LIMIT_NAMES, Enforcement
from ..cgroups import GroupError, LimitCheck
from ..kernel import proc_tree, reap
from ..kernel.clone3 import NOWHERE, CgroupEntrance
from ..kernel.loop import READ, Loop
from .cgroup_processes import Events
from .spawn import STAGES, Plan
from .subreaper import Subreaper

_ROUND_S: Final = 0.005


class SubreaperProcesses:
    """The tree of one job below its subreaper."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._events: Events | None = None
        self._subreaper = 0
        self._pidfd = -1
        self._control_fd = -1
        self._status_fd = -1
        self._pending = b""
        self._killed = 0
        self._started = False
        self._exited = False
        self._failure: tuple[str, int] | None = None
        self._counters: dict[str, Any] | None = None
        self.entries = [
            Enforcement(name, "unavailable", detail="no cgroups in user mode")
            for name in GROUP_LIMIT_NAMES
        ]
        self.client_entries = self.entries
        self.limit_check: LimitCheck | None = None
        self.usage_files: dict[str, str] = {}

    def entrance(self) -> CgroupEntrance:
        return NOWHERE

    def kill_fd(self) -> int | None:
        return None

    def start(self, plan: Plan, events: Events) -> None:
        self._events = events
        control_read, self._control_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._status_fd, status_write = os.pipe2(os.O_CLOEXEC)
        try:
            self._subreaper = reap.fork()
            if self._subreaper == 0:
                Subreaper(plan, control_read, status_write).run()
        finally:
            os.close(control_read)
            os.close(status_write)
        try:
            self._pidfd = os.pidfd_open(self._subreaper)
        except OSError:
            reap.disown(self._subreaper)  # close ends its control pipe, and that ends it
            self._subreaper = 0
            raise
        os.set_blocking(self._status_fd, False)
        self._loop.watch(self._status_fd, READ, self._readable)
        self._loop.watch(self._pidfd, READ, self._gone)

    def signal(self, number: int, tree: bool = False) -> int:
        if not self._started or self._exited:
            return 0
        if tree:
            return proc_tree.signal_below(self._subreaper, number)
        return self._command(f"S {number}\n")

    def freeze(self, frozen: bool) -> None:  # noqa: ARG002  see the error
        raise GroupError("without cgroups no job can be paused")

    def frozen(self) -> bool:
        return False

    def let_run(self) -> list[str]:
        if self._pidfd >= 0:  # a job of the same user could have stopped its subreaper
            self._to_subreaper(signal.SIGCONT)
            proc_tree.signal_below(self._subreaper, signal.SIGCONT)
        return []

    def kill(self) -> int:
        count = len(self.pids())
        self._killed = max(self._killed, count)
        self._command("K\n")
        if self._pidfd >= 0:  # a job of the same user could have stopped its subreaper
            self._to_subreaper(signal.SIGCONT)
        return count

    def pids(self) -> list[int]:
        below = proc_tree.descendants(self._subreaper) if self._subreaper else set()
        return sorted(proc_tree.alive(below))

    def place(self) -> tuple[str, int]:
        return "", self._subreaper

    def close(self) -> bool:
        for fd in (self._status_fd, self._control_fd, self._pidfd):
            if fd >= 0:
                self._loop.forget(fd)
                os.close(fd)
        self._status_fd = self._control_fd = self._pidfd = -1
        return True

    def _to_subreaper(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return

    def _command(self, text: str) -> int:
        if self._control_fd < 0:
            return 0
        try:
            os.write(self._control_fd, text.encode())
        except (BrokenPipeError, BlockingIOError):  # ended, or stopped: see kill
            return 0
        return 1

    def _readable(self) -> None:
        try:
            data = os.read(self._status_fd, 4096)
        except BlockingIOError:
            return
        if not data:
            self._loop.forget(self._status_fd)  # the subreaper's end follows
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            self._told(line.decode())

    def _told(self, line: str) -> None:
        assert self._events is not None
        word, *numbers = line.split()
        if word == "P":
            self._started = True
            self._events.started(int(numbers[0]))
        elif word == "F":
            self._failure = STAGES[int(numbers[0])], int(numbers[1])
        elif word == "X":
            self._exited = True
            used = {"user_s": float(numbers[1]), "system_s": float(numbers[2])}
            self._events.exited(int(numbers[0]), used)
        elif word == "E":
            self._killed = max(self._killed, int(numbers[0]))
            self._counters = {"cpu_total_s": float(numbers[1])}

    def _gone(self) -> None:
        """The subreaper has ended, which it does last, unless another process has killed it."""
        self._readable()
        reap.reap(self._subreaper)
        self._subreaper = 0
        self.close()
        if self._failure is None and self._counters is None:
            self._kill_strangers()
        else:
            self._finish()

    def _kill_strangers(self) -> None:
        """Without its subreaper a job's processes are children of the supervisor, which is one
        too, so they are ended from here.

        Jobs of other subreapers that die in the same way are ended with it.
        """

        def find() -> set[int]:
            tops = reap.strangers()
            return tops.union(*(proc_tree.descendants(top) for top in tops))

        self._killed += proc_tree.kill(find)
        if reap.strangers():
            self._loop.after(_ROUND_S, self._kill_strangers)
        else:
            self._finish()

    def _finish(self) -> None:
        events, self._events = self._events, None
        assert events is not None
        if not self._started:
            events.failed(*(self._failure or ("subreaper", 0)))
            return
        if not self._exited:  # its subreaper was killed, so what became of the job is unknown
            events.exited(None, {})
        events.emptied(self._killed, self._counters or {})
