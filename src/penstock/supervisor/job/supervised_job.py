"""A job as the supervisor holds it: its processes, pipes, timer and directory, until RELEASE.

Theory of operation. All of it runs in the one thread of the supervisor's loop, so no call overlaps
another; a job advances by events of its processes, by timers, and by messages of the server:

1. Starting, from ``start``: ``started`` or ``failed`` follows, or START_TIMEOUT_S is over. Signals
   and KILL may be sent already.
2. Running, from ``started``: its own time, a stop and its storage may each end it.
3. Exited: the main process was reaped; the others are killed, timers end, a pause fails.
4. Ended, from ``emptied`` or ``failed``: signals reach no process and count as 0.
5. Released, at any time: a job that runs is killed. Ended and released, it is forgotten.

The race that shaped it: the server may go at any moment, and its successor must miss nothing. So
STARTED, EXITED and EMPTIED are kept (notices.py) until RELEASE, and nothing here waits for a
server. A start that hangs is REFUSED and killed, so what becomes of it later is not reported.
"""

import errno as errno_names
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from ...policy.rlimit_policy import storage_bounds_files
from ..cgroups import LimitChange
from ..ipc import protocol
from ..ipc.from_supervisor import Emptied, Exited, Paused, RefusedMessage, Resumed
from ..ipc.server_socket import Send, nobody
from ..kernel import proc_tree
from ..kernel.loop import Loop, Timer
from ..logs.supervisor_log import log
from ..storage import disk_usage, workdirs
from .cgroup_processes import Processes
from .effective_start import EffectiveStart, MainProcess
from .notices import Descriptors, Notices
from .pause import Pausing
from .spawn import Plan
from .standard_pipes import INPUT_PIPES

_REMOVE_AGAIN_S: Final = 0.02  # a v1 group can be busy for a moment after its last process
_REMOVE_TRIES: Final = 250
# From fork to exec takes milliseconds. An executable on a dead network mount can take for ever, so
# the caller gets REFUSED after this instead.
START_TIMEOUT_S: Final = 10.0
# So much later than the server, which sends KILL itself when a stop's grace is over, unless it
# stands still.
_SERVER_IS_LATE_S: Final = 1.0


class SupervisedJob:
    """One job. ``on_forgotten`` is called when nothing of it is left anywhere.

    It sends the server STARTED, EXITED, EMPTIED in this order; or REFUSED, when nothing is
    left of it (but see START_TIMEOUT_S). A server that came later gets HELD instead of STARTED.
    """

    def __init__(
        self,
        loop: Loop,
        job_id: str,
        opaque: str,
        start: EffectiveStart,
        processes: Processes,
        on_forgotten: Callable[[str], None],
    ) -> None:
        self.id = job_id
        self.opaque = opaque
        self._loop = loop
        self._start = start
        self._processes = processes
        self._on_forgotten = on_forgotten
        self._fds: dict[str, int] = {}
        self._workdir = workdirs.Workdir(loop)
        self._timer: Timer | None = None
        self._stop_timer: Timer | None = None
        self._timed_out = False
        self._escalated = False
        self._storage_full = False
        self._xfsz_sent = False
        self._ended = False
        self._exited = False
        self._released = False
        self._pausing = Pausing(loop, processes)
        fds = Descriptors(lambda: dict(self._fds), self._kill_fd)
        self._notices = Notices(job_id, opaque, start, processes, fds)
        self.describe = self._notices.describe

    @property
    def send(self) -> Send:
        """How messages reach the server; ``nobody`` while none is connected."""
        return self._notices.send

    @send.setter
    def send(self, send: Send) -> None:
        self._notices.send = send

    @property
    def takeable(self) -> bool:
        """Whether an earlier server has started it and not released it, so the next may TAKE it."""
        return not self._released and self.send is nobody

    @property
    def starting(self) -> bool:
        """Whether STARTED is not due yet, so that nothing can be reported of it."""
        return not self._notices.has_started

    def start(self, plan: Plan, pipes: dict[str, int], workdir: workdirs.Workdir | None) -> None:
        """Forks. ``pipes`` (our ends) and ``workdir`` are this job's from now on.

        Raises OSError or GroupError; then the caller frees what there is with ``discard``.
        """
        self._processes.start(plan, self)
        self._fds = pipes
        self._workdir = workdir or self._workdir
        self._timer = self._loop.after(START_TIMEOUT_S, self._start_hangs)

    def signal(self, number: int, tree: bool = False) -> int:
        """Sends it to the main process, or to all; how many got it."""
        self._xfsz_sent |= number == signal.SIGXFSZ
        return 0 if self._ended else self._processes.signal(number, tree)

    def ask_end(self, number: int | None = None, *, tree: bool = False) -> int:
        """The first signal of its end, by default the command's own; how many got it. Whatever
        makes it stand still is undone after that, so that the signal is the first thing it sees."""
        if number is None:
            control = self._start.command.control
            number, tree = control.stop_signal, control.stop_tree
        count = self.signal(number, tree)
        if not self._ended and self._pausing.let_run(self.id):
            self.send(Resumed(self.id))
        return count

    def kill_after(self, grace_s: float) -> None:
        """Kills the tree a moment after that many seconds. Called again, the last one counts."""
        if self._stop_timer is not None:
            self._stop_timer.cancel()
        if not self._exited:
            seconds = grace_s + _SERVER_IS_LATE_S
            self._stop_timer = self._loop.after(seconds, self._timeout_kill)

    def pause(self, paused: bool) -> None:
        """PAUSED is sent when all stand still, or run on, or cannot."""

        def answer(is_paused: bool, why: str) -> None:
            self.send(Paused(self.id, is_paused, why))

        if self._exited:
            answer(False, "it has ended")
        elif paused:
            self._pausing.pause(answer)
        else:
            self._pausing.resume(answer)

    def disconnect(self) -> None:
        """The server is gone, so the job runs on, and what is due is kept for the next server."""
        self.send = nobody
        self._pausing.server_gone()

    def close_input(self) -> None:
        """Closes our copies of its input, so the job reads its end. No error if it has none."""
        for name in INPUT_PIPES:
            fd = self._fds.pop(name, None)
            if fd is not None:
                os.close(fd)

    def kill(self) -> int:
        """Sends KILL to all; how many there were, 0 once it has ended."""
        return 0 if self._ended else self._processes.kill()

    def storage_full(self) -> None:
        """It has more on the disk than its class allows. KILL, without a grace, because in each
        second of that it could take what others need."""
        if not self._exited and not self._timed_out:
            self._storage_full = True
            self.kill()

    def limits_changed(self, changes: Sequence[LimitChange]) -> None:
        """Its limits were found changed, which is reported to this server, or else to the next."""
        self._notices.changed(changes)

    def pids(self) -> list[int]:
        """The processes that are left of it; none once it has ended."""
        return [] if self._ended else self._processes.pids()

    def release(self) -> None:
        """The end record is durable, or there will be none: kills what is left, and forgets it."""
        if self._released:
            return
        self._released = True
        if self._ended:
            self._forget()
        else:
            self.kill()

    def discard(self, workdir: workdirs.Workdir, refusal: RefusedMessage) -> None:
        """Nothing was forked; the pipes stay the caller's. ``refusal`` is sent once all is gone."""
        self._workdir = workdir
        self._notices.refuse(refusal)
        self._ended = self._released = True
        self._forget()

    # What the processes report (cgroup_processes.Events).

    def started(self, pid: int) -> None:
        self._cancel_timer()
        if self._notices.refused:
            return  # too late, because the caller has had REFUSED already
        if self._start.timeout_s is not None:
            self._timer = self._loop.after(self._start.timeout_s, self._timeout)
        self._notices.started(
            MainProcess(pid, proc_tree.start_ticks(pid), time.time_ns()),
            paused=self._pausing.paused,
        )
        if self._released:  # abandoned while it started
            self.kill()

    def failed(self, stage: str, errno: int) -> None:
        self._cancel_timer()
        self._refuse(stage, errno)
        self._ended = self._released = True
        self._forget()

    def exited(self, status: int | None, rusage: dict[str, float]) -> None:
        self._cancel_timer()
        self._exited = True
        self._pausing.ended()
        if not self._notices.refused:
            # Unless it was sent that signal by a client.
            too_long = not self._xfsz_sent and disk_usage.died_of_length(status)
            bounded = storage_bounds_files(self._start.limit_class)
            full = self._storage_full or (bounded and too_long)
            timed_out, escalated = self._timed_out, self._escalated
            self._notices.later(Exited(self.id, status, timed_out, escalated, full, rusage))

    def emptied(self, killed: int, counters: dict[str, float]) -> None:
        self._ended = True
        self._notices.later(Emptied(self.id, killed, counters))
        # Now and not on release, because without a server none comes, and the disk may be full.
        self._workdir.remove()
        if self._released:
            self._forget()

    def hand_over(self, send: Send) -> None:
        """Sends a server that has come since all that it has missed, and then what follows."""
        self._notices.hand_over(send, paused=self._pausing.paused)

    def _kill_fd(self) -> int | None:
        return None if self._ended else self._processes.kill_fd()

    def _refuse(self, stage: str, errno: int) -> None:
        reason = os.strerror(errno) if errno else "it ended before it could say why"
        self._notices.refuse(
            RefusedMessage(
                self.id,
                protocol.EXECUTABLE if stage == "exec" else protocol.FAILED,
                stage,
                errno,
                f"{self._start.command.name} could not be started: {stage}: {reason}",
            )
        )

    def _start_hangs(self) -> None:
        self._refuse("exec", errno_names.ETIMEDOUT)
        self._notices.tell_refusal()
        self.release()

    def _timeout(self) -> None:
        self._timed_out = True
        self.ask_end()
        self._timer = self._loop.after(self._start.command.grace_s, self._timeout_kill)

    def _timeout_kill(self) -> None:
        self._escalated = True
        self.kill()

    def _cancel_timer(self) -> None:
        for timer in (self._timer, self._stop_timer):
            if timer is not None:
                timer.cancel()

    def _forget(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}
        self._remove_group(_REMOVE_TRIES)

    def _remove_group(self, tries: int) -> None:
        if not self._processes.close():
            if tries:
                self._loop.after(_REMOVE_AGAIN_S, lambda: self._remove_group(tries - 1))
                return
            log(f"the group of job {self.id} stays busy; the next start of penstockd removes it")
        self._workdir.when_removed(self._forgotten)

    def _forgotten(self) -> None:
        self._on_forgotten(self.id)
        self._notices.tell_refusal()
