"""A job's tree without cgroups, for an ordinary user: a subreaper whose descendants are the job.

The subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)) is a fork of the supervisor, so that whatever the
job forks, daemonised or not, stays its descendant. It ends the tree when the main process has
ended, when the supervisor asks for it, and when the supervisor is gone; it has no child left only
when the last of the tree is dead. Nothing is limited this way, and a job that runs as the same user
could kill its subreaper, so root mode is what a server should use instead.
"""

import os
import resource
import select
import signal
from typing import Final, NoReturn

from ..kernel import proc_tree
from ..kernel.reap import rusage
from .spawn import PR_SET_CHILD_SUBREAPER, STAGES, Plan, decode_report, prctl, spawn

_ROUND_MS: Final = 5  # between two rounds of killing, for what forked meanwhile


class Subreaper:
    """One subreaper, between fork and _exit. It reports, a line each:

    ``F stage errno`` not started, or ``P pid`` started; ``X status user_s system_s`` main
    process reaped; ``E killed cpu_s`` no process is left. Its commands are ``S number`` (signal
    the main process) and ``K`` (end the tree).
    """

    def __init__(self, plan: Plan, control_fd: int, status_fd: int) -> None:
        self._plan = plan
        self._control_fd = control_fd
        self._status_fd = status_fd
        self._report_fd = -1
        self._wake_fd = -1
        self._poll = select.poll()
        self._main = 0
        self._failed = False
        self._ending = False
        self._killed = 0

    def run(self) -> NoReturn:
        """Never returns; an error ends the subreaper, and the supervisor ends its tree."""
        try:
            self._prepare()
            self._keep()
        finally:
            os._exit(0)

    def _prepare(self) -> None:
        os.setsid()  # a terminal's ^C is for the supervisor, which then ends the job in order
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._close_others()
        self._wake_fd, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        try:
            self._main, self._report_fd = spawn(self._plan)
        except OSError as error:
            self._tell(f"F {STAGES.index('fork')} {error.errno or 0}")
            os._exit(0)
        for fd in self._plan_fds():
            os.close(fd)

    def _keep(self) -> None:
        for fd in (self._control_fd, self._wake_fd, self._report_fd):
            self._poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll(_ROUND_MS if self._ending else None):
                if fd == self._wake_fd:
                    os.read(self._wake_fd, 4096)
                elif fd == self._control_fd:
                    self._obey()
            # Read each time, because the end of the main process must not overtake its report.
            self._read_report()
            self._reap()
            if self._ending:
                self._killed = max(self._killed, proc_tree.kill(_below))
                self._reap()
                if not _below():
                    used = resource.getrusage(resource.RUSAGE_CHILDREN)
                    self._tell(f"E {self._killed} {used.ru_utime + used.ru_stime:.6f}")
                    return

    def _read_report(self) -> None:
        if self._report_fd < 0:
            return
        try:
            failure = decode_report(os.read(self._report_fd, 64))
        except BlockingIOError:
            return
        self._poll.unregister(self._report_fd)
        os.close(self._report_fd)
        self._report_fd = -1
        if failure is None:
            self._tell(f"P {self._main}")
        else:
            self._failed = self._ending = True
            self._tell(f"F {STAGES.index(failure[0])} {failure[1]}")

    def _plan_fds(self) -> set[int]:
        plan = self._plan
        return {plan.executable_fd, plan.stdin_fd, plan.stdout_fd, plan.stderr_fd}

    def _close_others(self) -> None:
        """Closes all descriptors but the plan's, its own and standard error."""
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

    def _obey(self) -> None:
        data = os.read(self._control_fd, 4096)
        if not data:  # the supervisor is gone
            self._poll.unregister(self._control_fd)
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
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                continue  # it has asked to be traced by its parent, and runs on when signalled
            if pid == self._main:
                self._read_report()
                self._main = 0
                self._ending = True
                if not self._failed:
                    values = " ".join(str(value) for value in rusage(used).values())
                    self._tell(f"X {status} {values}")


def _below() -> set[int]:
    return proc_tree.descendants(os.getpid())
