"""What the supervisor's messages have reported of one job so far."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import trio

from ...supervisor.ipc.from_supervisor import Emptied, Exited, Held, ReplacedFile, StartedMessage
from .base import InputPipes, JobPipes, StartedJob, StartRefused, Verdict


class ReportedJob:
    """One job, from START on. ``kill_fd`` is of its cgroup.kill, -1 without one."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: StartedJob | StartRefused | None = None
        self.replaced: tuple[ReplacedFile, ...] = ()
        """Instead of an answer: what must be audited before the START is repeated."""
        self.left_alone = False
        """The caller of the start was cancelled, so its pipes are to be closed as they come."""
        self.exited = trio.Event()
        self.emptied = trio.Event()
        self.paused = False
        self._exit: Exited | None = None
        self._end: Emptied | None = None
        self._lost = ""
        self._kill_fd = -1

    @property
    def can_kill(self) -> bool:
        """Whether ``kill`` works: it needs a descriptor, and no supervisor."""
        return self._kill_fd >= 0

    def kill(self) -> None:
        """KILL to the whole group, without the supervisor; nothing where ``can_kill`` is False."""
        if self._kill_fd >= 0:
            with contextlib.suppress(OSError):  # the group is gone already
                os.write(self._kill_fd, b"1")

    def close(self, *, kill: bool = False) -> None:
        """Frees the descriptor of cgroup.kill, after using it if ``kill``."""
        if self._kill_fd >= 0:
            if kill:
                self.kill()
            os.close(self._kill_fd)
            self._kill_fd = -1

    def has_started(self, message: StartedMessage | Held, fds: Sequence[int]) -> StartedJob:
        """The job runs, and all its descriptors have come; the pipes are the caller's to close."""
        named = dict(zip(message.fds, fds, strict=True))
        self._kill_fd = named.get("kill", -1)
        pipes = JobPipes(named["stdout"], named.get("stderr"), _input(named))
        job = self.answer = StartedJob(message.started, pipes)
        self.answered.set()
        return job

    def was_refused(self, refused: StartRefused) -> None:
        """The job does not run, so the caller of the start gets ``refused``."""
        self.answer = refused
        self.answered.set()

    def waits_for(self, files: tuple[ReplacedFile, ...]) -> None:
        """These files of its program must be audited before the job may run."""
        self.replaced = files
        self.answered.set()

    def has_exited(self, message: Exited) -> None:
        """Its main process was reaped; others of its processes may be left."""
        self._exit = message
        self.exited.set()

    def has_emptied(self, message: Emptied) -> None:
        """None of its processes is left, so its verdict is known."""
        self._end = message
        self.emptied.set()

    def is_lost(self, why: str, *, kill: bool) -> None:
        """No message of it comes any more; its processes are killed here if ``kill``."""
        if not self.answered.is_set():
            self.was_refused(StartRefused("lost", why))
        # With the supervisor gone no process holds these jobs, so none would ever end them:
        # each STARTED brought a descriptor of the group's cgroup.kill, opened by root, for this.
        # If it is this process that leaves, the supervisor keeps the jobs for the next server.
        if not self.emptied.is_set():
            self._lost = why
            self.close(kill=kill)
        self.exited.set()
        self.emptied.set()

    def verdict(self) -> Verdict:
        """How it ended; call it once ``emptied`` is set. ``lost`` where no status is known."""
        counters: Mapping[str, Any] = {} if self._end is None else self._end.counters
        exited, end = self._exit, self._end
        if self._lost or end is None or exited is None or exited.status is None:
            why = self._lost or "the exit status could not be collected"
            return Verdict("lost", counters=counters, detail=why)
        code = os.waitstatus_to_exitcode(exited.status)
        return Verdict(
            "exited" if code >= 0 else "signaled",
            abs(code),
            exited.timed_out,
            end.killed,
            counters,
            escalated=exited.escalated,
            storage_full=exited.storage_full,
        )


def close_all(fds: Sequence[int]) -> None:
    """Closes descriptors that came with a message that no code takes."""
    for fd in fds:
        os.close(fd)


def read_whole(fd: int) -> bytes:
    """A memfd's content from its beginning; closes it."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        return file.read()


def _input(named: Mapping[str, int]) -> InputPipes | None:
    if "stdin" not in named:
        return None
    return InputPipes(named["stdin"], named["input_read"], named["input_write"])
