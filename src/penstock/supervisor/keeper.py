"""A job's tree without cgroups, for an ordinary user: a keeper whose descendants are the job.

The keeper is a fork of the supervisor, a subreaper (prctl(2)): whatever the job forks,
daemonised or not, stays its descendant. It ends the tree when the main process has
ended, when told so, and when the supervisor is gone. Nothing is limited this way, and
a job that runs as the same user could kill its keeper: that is what root mode is for.
"""

import errno
import os
import select
import signal
from typing import Any, Final, NoReturn

from .limits import LIMIT_NAMES, Enforcement
from .loop import READ, Loop
from .process import Events
from .spawn import PR_SET_CHILD_SUBREAPER, STAGES, Plan, decode_report, prctl, spawn

_ROUND_MS: Final = 5  # between two rounds of killing, for what forked meanwhile


class KeptProcesses:
    """The supervisor's side: commands go down one pipe, events come up another."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._events: Events | None = None
        self._keeper = 0
        self._control_fd = -1
        self._status_fd = -1
        self._pending = b""
        self._killed = 0
        self._exited = False
        self.enforcement = [
            Enforcement(name, "unavailable", detail="no cgroups in user mode")
            for name in LIMIT_NAMES
            if name != "output"
        ]
        self.usage_files: dict[str, str] = {}

    def enter_fds(self) -> list[int]:
        return []

    def kill_fd(self) -> int | None:
        return None

    def start(self, plan: Plan, events: Events) -> None:
        self._events = events
        control_read, control_write = os.pipe2(os.O_CLOEXEC)
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        try:
            self._keeper = os.fork()
            if self._keeper == 0:
                _Keeper(plan, control_read, status_write).run()
        finally:
            os.close(control_read)
            os.close(status_write)
        self._control_fd, self._status_fd = control_write, status_read
        self._loop.watch(status_read, READ, self._readable)

    def signal(self, number: int) -> int:
        return self._command(f"S {number}\n")

    def kill(self) -> int:
        count = len(descendants(self._keeper)) if self._keeper else 0
        self._killed = max(self._killed, count)
        self._command("K\n")
        return count

    def close(self) -> bool:
        if self._status_fd >= 0:
            self._loop.forget(self._status_fd)
            os.close(self._status_fd)
            os.close(self._control_fd)
            self._status_fd = self._control_fd = -1
        return True

    def _command(self, text: str) -> int:
        if self._control_fd < 0:
            return 0
        try:
            os.write(self._control_fd, text.encode())
        except BrokenPipeError:
            return 0
        return 1

    def _readable(self) -> None:
        data = os.read(self._status_fd, 4096)
        self._pending += data
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            self._told(line.decode())
        if not data:
            self._gone()

    def _told(self, line: str) -> None:
        assert self._events is not None
        word, *numbers = line.split()
        if word == "P":
            self._events.started(int(numbers[0]))
        elif word == "F":
            events, self._events = self._events, None
            events.failed(STAGES[int(numbers[0])], int(numbers[1]))
        elif word == "X":
            self._exited = True
            self._events.exited(int(numbers[0]))
        elif word == "E":
            self._killed = max(self._killed, int(numbers[0]))

    def _gone(self) -> None:
        """End of file: the keeper has ended, which it does last."""
        os.waitpid(self._keeper, 0)
        self._keeper = 0
        self.close()
        events, self._events = self._events, None
        if events is None:  # nothing was started
            return
        if not self._exited:  # somebody has killed the keeper: what became of the job is unknown
            events.exited(None)
        events.emptied(self._killed, {})


class _Keeper:
    """The keeper itself, between fork and _exit."""

    def __init__(self, plan: Plan, control_fd: int, status_fd: int) -> None:
        self._plan = plan
        self._control_fd = control_fd
        self._status_fd = status_fd
        self._main = 0
        self._ending = False
        self._killed = 0

    def run(self) -> NoReturn:
        try:
            self._run()
        finally:
            os._exit(0)

    def _run(self) -> None:
        os.setsid()  # a terminal's ^C is for the supervisor, which then ends the job in order
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._close_others()
        wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write)
        self._main, report_fd = spawn(self._plan)
        for fd in self._plan_fds():
            os.close(fd)
        select.select([report_fd], [], [])
        failure = decode_report(os.read(report_fd, 64))
        os.close(report_fd)
        if failure is not None:
            os.waitpid(self._main, 0)
            self._tell(f"F {STAGES.index(failure[0])} {failure[1]}")
            return
        self._tell(f"P {self._main}")
        poll = select.poll()
        poll.register(self._control_fd, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll(_ROUND_MS if self._ending else None):
                if fd == wake_read:
                    os.read(wake_read, 4096)
                else:
                    self._obey(poll)
            self._reap()
            if self._ending and not self._kill_round():
                self._tell(f"E {self._killed}")
                return

    def _plan_fds(self) -> set[int]:
        plan = self._plan
        return {plan.executable_fd, plan.stdin_fd, plan.stdout_fd, plan.stderr_fd}

    def _close_others(self) -> None:
        keep = sorted({*self._plan_fds(), self._control_fd, self._status_fd, 2})
        low = 0
        for fd in [*keep, os.sysconf("SC_OPEN_MAX")]:
            os.closerange(low, fd)
            low = fd + 1

    def _tell(self, line: str) -> None:
        try:
            os.write(self._status_fd, f"{line}\n".encode())
        except BrokenPipeError:
            self._ending = True

    def _obey(self, poll: Any) -> None:
        data = os.read(self._control_fd, 4096)
        if not data:  # the supervisor is gone
            poll.unregister(self._control_fd)
            self._ending = True
        for line in data.decode().splitlines():
            word, *numbers = line.split()
            if word == "K":
                self._ending = True
            elif self._main:  # not reaped yet, so the pid is still its own
                os.kill(self._main, int(numbers[0]))

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._main:
                self._main = 0
                self._ending = True
                self._tell(f"X {status}")

    def _kill_round(self) -> int:
        """KILL to every descendant there is; how many there were."""
        own = os.getpid()
        found = descendants(own)
        alive = 0
        for pid in found:
            try:
                fd = os.pidfd_open(pid)
            except OSError as error:
                if error.errno == errno.ESRCH:
                    continue
                raise
            try:
                # The pid may have been reused since it was listed: a stranger's parent is
                # neither the keeper nor one of the tree.
                state, parent = _stat(pid)
                if state != "Z" and (parent in found or parent == own):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                    alive += 1
            except ProcessLookupError:
                continue
            finally:
                os.close(fd)
        self._killed = max(self._killed, alive)
        return len(found)


def _stat(pid: int) -> tuple[str, int]:
    """State and parent: fields 3 and 4 of /proc/<pid>/stat; a zombie of nobody if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, parent, *_ = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return "Z", 0
    return state, int(parent)


def descendants(pid: int) -> set[int]:
    """All processes below one, zombies too, by /proc/<pid>/task/*/children (proc(5))."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        current = todo.pop()
        try:
            for task in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{task}/children", encoding="ascii") as file:
                    children = {int(text) for text in file.read().split()} - found
                found |= children
                todo += children
        except OSError:
            continue
    return found
