"""Looks each second at what jobs take of the disk, in a process of its own.

A job may have a hundred thousand files, and the disk may stand still, but the supervisor must wait
for neither. So it forks a looker, names the jobs to it by one pipe, and reads from another which of
them are over their bound. The looker ends when the supervisor does. If it dies, or takes nothing
for so long that its pipe is full, the supervisor forks another, which knows all jobs because it is
a copy of the supervisor.
"""

import contextlib
import json
import os
import select
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ..kernel.loop import READ, Loop
from ..kernel.reap import disown, fork
from ..logs.supervisor_log import log
from .disk_usage import Used, Watched, walk

LOOK_S: Final = 1.0
# CPU time of a look, for all jobs together. Jobs that were not reached come first in the next.
LOOK_CPU_S: Final = 0.05
# CPU time of one turn of a job, so that one with many files does not hide what another does.
_SLICE_CPU_S: Final = 0.002
_AGAIN_S: Final = 1.0


class StorageWatch:
    """The supervisor's end. ``on_over`` is called with the id of a job over its bound, once."""

    def __init__(self, loop: Loop, on_over: Callable[[str], None]) -> None:
        """Nothing is started before there is a job to look at."""
        self._loop = loop
        self._on_over = on_over
        self._jobs: dict[str, Watched] = {}
        self._pid = 0
        self._command_fd = self._report_fd = -1
        self._pending = b""
        self._waiting = False

    def add(self, watched: Watched) -> None:
        """The job is looked at from the next look on."""
        self._jobs[watched.id] = watched
        if self._pid:
            self._tell(watched.fields())
        else:
            self._start()

    def remove(self, job_id: str) -> None:
        """The job has ended. Does nothing for one that was reported or never added."""
        if self._jobs.pop(job_id, None) is not None:
            self._tell({"id": job_id})

    def _start(self) -> None:
        if self._waiting:
            return
        try:
            command_read, self._command_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                self._report_fd, report_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                os.close(command_read)
                os.close(self._command_fd)
                raise
        except OSError as error:
            self._start_later(error)
            return
        try:
            self._pid = fork()
            if self._pid == 0:
                _run(self._jobs, command_read, report_write)
        except OSError as error:
            self._start_later(error, self._command_fd, self._report_fd)
            return
        finally:
            os.close(command_read)
            os.close(report_write)
        self._pending = b""
        self._loop.watch(self._report_fd, READ, self._readable)

    def _start_later(self, error: OSError, *fds: int) -> None:
        for fd in fds:
            os.close(fd)
        log(f"what jobs take of the disk is not looked at for now: {error.strerror}")
        self._again()

    def _again(self) -> None:
        self._waiting = True

        def start() -> None:
            self._waiting = False
            if self._jobs and not self._pid:
                self._start()

        self._loop.after(_AGAIN_S, start)

    def _tell(self, fields: dict[str, object]) -> None:
        if not self._pid:
            return  # the next looker is forked with all that it must know
        try:
            data = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
            if os.write(self._command_fd, data) == len(data):
                return
        except (BlockingIOError, BrokenPipeError):
            pass
        self._end("takes no more jobs: its disk stands still, perhaps")

    def _readable(self) -> None:
        data = os.read(self._report_fd, 4096)
        if not data:
            self._end("has ended")
            return
        *ids, self._pending = (self._pending + data).split(b"\n")
        for each in ids:
            job_id = each.decode()
            if self._jobs.pop(job_id, None) is not None:
                self._on_over(job_id)

    def _end(self, why: str) -> None:
        log(f"the process that looks at what jobs take of the disk {why}; another follows")
        self._loop.forget(self._report_fd)
        os.close(self._report_fd)
        os.close(self._command_fd)
        with contextlib.suppress(ProcessLookupError):
            # Not reaped yet, so no other process can have this pid.
            os.kill(self._pid, signal.SIGKILL)
        disown(self._pid)  # if it waits for a disk, it ends when it can
        self._pid = 0
        self._again()


@dataclass(slots=True)
class _Job:
    watched: Watched
    used: Used = field(default_factory=Used)
    steps: Iterator[None] | None = None  # the walk under way
    looked: int = 0  # number of the look in which its last walk began


class Looker:
    """The looker's end: the jobs, and how far each walk has come. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        """``clock``: seconds of CPU of this process."""
        self._clock = clock
        self._jobs: dict[str, _Job] = {}
        self._turns: deque[str] = deque()
        self._looks = 0

    def add(self, watched: Watched) -> None:
        """The job has its turn in the next look."""
        self._jobs[watched.id] = _Job(watched)
        self._turns.append(watched.id)

    def remove(self, job_id: str) -> None:
        """Ends the job's walk, if it has one, which closes its descriptors."""
        job = self._jobs.pop(job_id, None)
        if job is not None:
            self._turns.remove(job_id)
            self._close(job)

    def look(self) -> list[str]:
        """Continues every job's walk, for LOOK_CPU_S in all.

        Returns the ids of those that are over their bound; these are not looked at any more.
        """
        self._looks += 1
        end = self._clock() + LOOK_CPU_S
        over: list[str] = []
        done = 0  # jobs in a row that were walked to their end in this look
        while self._turns and done < len(self._turns) and self._clock() < end:
            job_id = self._turns[0]
            self._turns.rotate(-1)
            job = self._jobs[job_id]
            if job.steps is None and job.looked == self._looks:
                done += 1
                continue
            done = 0
            self._go_on(job, end)
            if job.used.over(job.watched):
                over.append(job_id)
                self.remove(job_id)
        return over

    def _go_on(self, job: _Job, end: float) -> None:
        if job.steps is None:
            job.used, job.looked = Used(), self._looks
            job.steps = walk(job.watched, job.used)
        end = min(end, self._clock() + _SLICE_CPU_S)
        try:
            for _ in job.steps:
                if job.used.over(job.watched) or self._clock() >= end:
                    return
        except OSError as error:
            # Out of descriptors, or a disk that fails: the next look tries this job again.
            log(f"looking at what job {job.watched.id} takes of the disk: {error.strerror}")
        job.steps = None
        job.looked = self._looks

    @staticmethod
    def _close(job: _Job) -> None:
        job.steps = None  # a generator that is dropped is closed


def _run(jobs: dict[str, Watched], command_fd: int, report_fd: int) -> NoReturn:
    """In the child. Never returns; ends with the supervisor."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        _keep_only(command_fd, report_fd)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)  # the supervisor's end is ours
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        looker = Looker()
        for watched in jobs.values():
            looker.add(watched)
        _look_for_ever(looker, 3, 4)
    # The child of a fork must not unwind into the parent's frames; there is no Trio here.
    except BaseException:  # noqa: ASYNC103
        for line in traceback.format_exc().splitlines():
            log(line)
    finally:
        os._exit(0)


def _keep_only(command_fd: int, report_fd: int) -> None:
    """Moves both to 3 and 4 and closes all above, because the server's connection must end with the
    supervisor."""
    high = [os.dup(fd) for fd in (command_fd, report_fd)]
    while min(high) < 5:
        high = [os.dup(fd) for fd in high]
    for target, fd in zip((3, 4), high, strict=True):
        os.dup2(fd, target, inheritable=False)
    os.closerange(5, os.sysconf("SC_OPEN_MAX"))


def _look_for_ever(looker: Looker, command_fd: int, report_fd: int) -> None:
    poll = select.poll()
    poll.register(command_fd, select.POLLIN)
    os.set_blocking(report_fd, True)
    pending = b""
    next_look = time.monotonic() + LOOK_S
    while True:
        if poll.poll(max(0.0, next_look - time.monotonic()) * 1000):
            data = os.read(command_fd, 1 << 16)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                _obey(looker, json.loads(line))
        if time.monotonic() >= next_look:
            for job_id in looker.look():
                os.write(report_fd, job_id.encode() + b"\n")
            next_look = time.monotonic() + LOOK_S


def _obey(looker: Looker, fields: dict[str, Any]) -> None:
    if len(fields) == 1:
        looker.remove(str(fields["id"]))
    else:
        looker.add(Watched.of(fields))
