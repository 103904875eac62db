"""S6: how one job is asked to end, and made to; and what of that outlives the server.

The first signal, the grace, KILL for the whole group. It ends by grace and KILL; what was
asked for is durable before the first signal, so that a server that takes the job over resumes it.
"""

import contextlib
import os
import sqlite3
from dataclasses import asdict, replace

import trio

from ..concurrency.interrupts import uninterrupted_methods
from .backends.base import Backend
from .job import UNKILLABLE_S, Job
from .job_errors import SupervisorSilent
from .output.output_quota import MustStop
from .reporting import say
from .states import JobEvent, JobState
from .stop_notes import StopNotes
from .store import Store


@uninterrupted_methods
class JobStop:
    """The stop of one job, before and after its end was asked for."""

    def __init__(self, job: Job, backend: Backend, store: Store) -> None:
        self.notes = StopNotes()
        self.output_error: OSError | None = None
        self._job = job
        self._backend = backend
        self._store = store
        self._recorded = StopNotes()
        self._nursery: trio.Nursery | None = None
        # Scope S6.
        self._grace = trio.CancelScope()

    def restore(self, notes: StopNotes) -> None:
        """The stop was under way when an earlier server ended: it begins again with ``open``, with
        its grace, unless that was over."""
        self.notes = self._recorded = notes
        if notes.output_errno is not None:
            self.output_error = OSError(notes.output_errno, os.strerror(notes.output_errno))

    def open(self, nursery: trio.Nursery) -> None:
        """From now on a stop runs in ``nursery``; one that was asked for already begins."""
        self._nursery = nursery
        if self._job.stop_asked is not None:
            self.asked()
        elif self.notes != StopNotes():
            self._begin(self.notes.grace_s)

    def close(self) -> None:
        """The job has ended, so a stop that is asked for from now on does nothing."""
        self._nursery = None

    def asked(self) -> None:
        """A caller wants the job's end, or wants it sooner (``stop_asked``). No checkpoint."""
        job, asked = self._job, self._job.stop_asked
        if asked is None:
            return
        grace_s = asked.grace_s(job.started.grace_s)
        if job.state in (JobState.RUNNING, JobState.STOPPING):
            self.notes = replace(
                self.notes,
                by=asked.by,
                reason=asked.reason,
                grace_s=grace_s,
                signal=asked.signal,
            )
            asked.is_recorded(self._record())
        self._begin(grace_s)

    def must_stop(self, reason: MustStop) -> None:
        """Its output cannot be kept, and its policy prefers its end to a gap. The command's own
        grace holds, unless another is under way. No checkpoint."""
        self.output_error = reason.error
        errno = None if reason.error is None else reason.error.errno or 0
        notes = replace(self.notes, output_errno=errno, output_full=reason.error is None)
        own_s = self._job.started.grace_s
        self.notes = notes if notes.by is not None else replace(notes, grace_s=own_s)
        self._record()
        self._begin(own_s)

    def _record(self) -> bool:
        """Whether it is recorded. Logs an error instead of raising it, because a stop must always
        be possible; it would only be forgotten if this server ended now."""
        if self.notes == self._recorded:
            return True
        try:
            self._store.set_stopping(self._job.id, asdict(self.notes))
        except sqlite3.Error as error:
            say(f"the stop of job {self._job.handle}: {error}")
            return False
        self._recorded = self.notes
        return True

    def _begin(self, grace_s: float) -> None:
        if self._nursery is None:
            return
        # Deadline S6.
        self._grace.deadline = min(self._grace.deadline, trio.current_time() + grace_s)
        if self._job.state is JobState.RUNNING:
            self._job.advance(JobEvent.STOP_ASKED)
            self._nursery.start_soon(self._run)

    async def _run(self) -> None:
        """The job's own nursery ends this once all are dead."""
        job = self._job
        if not self.notes.escalated:
            with self._grace:  # around the first signal too: KILL does not wait for its answer
                await self._ask_to_end()
                await self._backend.wait_main_exited(job.id)
                return  # what is left is killed by the backend, which reports when it is gone
            self.notes = replace(self.notes, escalated=True)
            self._record()
        await self._backend.kill(job.id)
        await self.lose_patience()

    async def _ask_to_end(self) -> None:
        job, control = self._job, self._job.started.control
        number = self.notes.signal or control.stop_signal
        # What is left of the grace. The supervisor keeps to it, too, because this process may stand
        # still when it is over, for a disk that does not answer.
        left_s = max(0.0, self._grace.deadline - trio.current_time())
        try:
            await self._backend.signal(job.id, number, tree=control.stop_tree, kill_after_s=left_s)
        except SupervisorSilent as error:
            say(f"the stop of job {job.handle}: {error}")
        if job.pause_asked:  # after the signal: it is the first thing that they see
            with contextlib.suppress(SupervisorSilent):
                await self._backend.set_paused(job.id, False)

    async def lose_patience(self) -> None:
        """KILL was sent to all, so a process that is left after UNKILLABLE_S is in an
        uninterruptible sleep, and is named to callers.

        While the supervisor does not answer that is not known, so it is asked again.

        Cancellation: minimum cleanup; C5.
        """
        while True:
            await trio.sleep(UNKILLABLE_S)
            try:
                survivors = await self._backend.inspect(self._job.id)
            except SupervisorSilent:
                continue
            break
        if self._nursery is not None:  # otherwise they have died meanwhile
            self._job.has_survivors(survivors)
