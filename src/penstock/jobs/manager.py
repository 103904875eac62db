"""Starts and ends the jobs of one state directory: ids, request ids, order of records."""

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted_context, uninterrupted_methods
from ..concurrency.plain_errors import PlainErrors
from ..supervisor.ipc.from_supervisor import Changed
from .backends.base import Backend, HeldJob, JobSpec
from .change_reader import ChangeReader, ChangeReaders
from .database_file import lock_directory
from .history import History
from .job import UNKILLABLE_S, Job
from .job_errors import (
    Precondition,
    RequestConflict,
    SupervisorSilent,
    Unavailable,
)
from .job_recovery import JobRecovery, Recovered
from .job_tasks import JobTasks
from .output.capture import close_pipes
from .output.disk import Disk
from .reporting import Audit, say, try_audit
from .retention_settings import RetentionSettings
from .salvage import open_store
from .start_attempts import StartAttempts
from .start_recorder import StartRecorder
from .store import Store

# Bounds what a shutdown adds to a command's own grace.
SHUTDOWN_GRACE_S: Final = 3.0


def no_audit(event: str, fields: object) -> None:
    """The library's default: events are dropped, because its caller has named no audit."""


@uninterrupted_methods
class Manager:
    """Starts and stops jobs; ``history`` has them. Only open_manager makes one."""

    def __init__(self, backend: Backend, store: Store, audit: Audit, history: History) -> None:
        self.history = history
        self._backend = backend
        self._store = store
        self._audit = audit
        self._nursery: trio.Nursery
        self._closing = False
        self._leaving = False
        self._recorder = StartRecorder(backend, store, audit, history)
        self.starts = StartAttempts(backend, store)
        self._tasks = JobTasks(backend, self.starts, store, audit, history)
        self._change_readers = ChangeReaders(store.changes)
        # Messages about jobs that this manager takes over, kept because they come before the jobs
        # are known here.
        self._early: list[Changed] | None = []
        backend.on_limits_changed = self._limits_changed
        backend.on_paused = self._paused_changed

    @uninterrupted_context
    @contextlib.asynccontextmanager
    async def open_nursery(self) -> AsyncIterator[None]:
        """S4: owns every job's task and the history's; ends when the last job has.

        As its block is left, jobs are stopped: shielded, bounded (see stop_all).

        Cancellation: completes; C11, C12, C28, C40.
        """
        errors = PlainErrors()
        with errors.outside():
            # Scope S4.history.
            async with trio.open_nursery() as keeping:
                keeping.start_soon(self.history.run)
                # Scope S4.
                async with trio.open_nursery() as self._nursery:
                    try:
                        with errors.inside():
                            yield
                    finally:
                        # As a task, because a second ^C would end what this one waits for.
                        self._nursery.start_soon(self._close)
                # Cancels S4.history.
                keeping.cancel_scope.cancel()

    async def _close(self) -> None:
        """Ends by stop_all's own bound; without it no end record would be written."""
        try:
            # Scope S4.closing.
            with trio.CancelScope(shield=True):
                await self.stop_all("server")
        finally:
            self._tasks.end_now()  # whatever became of the stops, because nothing else ends them
            self._change_readers.end()

    async def start(self, owner: str, spec: JobSpec, *, request_id: str | None = None) -> Job:
        """Starts a job and returns when its process runs.

        Completes: cancelled half-way, the start continues without the caller; either nothing
        comes of it, or the job is in its owner's list. The same request id of the same
        owner gives the job of the first time. Raises RequestConflict if that had another
        body, NameInUse if another unfinished job of the owner has the name, and what the start
        failed with: NotGranted, InvalidRequest, Precondition, Exhausted, Unavailable. Raises
        SupervisorSilent if the supervisor does not answer; the start continues.

        Cancellation: completes; C4, C26, C32, C38, C58, C59.
        """
        job = self.find_request(owner, request_id) if request_id is not None else None
        if job is not None:
            if job.spec != spec:
                raise RequestConflict(
                    f"request id {request_id!r} was used before, for another start"
                )
        else:
            job = self._begin(owner, spec, request_id)
        if not (job.begun.is_set() or await self._backend.answered(job.begun.wait)):
            raise SupervisorSilent(
                "the supervisor does not answer; the start goes on when it does: ask again under "
                "the same request id, which gives the same job"
            )
        await job.wait_begun()
        return job

    def find_request(self, owner: str, request_id: str) -> Job | None:
        """The job that this request id of this owner has started, or is starting.

        None: it has started none. Raises Precondition REQUEST_DAMAGED if it has started one whose
        record cannot be read, and Unavailable if no record can be read now.
        """
        try:
            job_id = self._store.find_request(owner, request_id)
        except sqlite3.Error as error:
            say(f"request id {request_id!r} of {owner}: {error}")
            raise Unavailable("jobs cannot be looked up now; the server's log says why") from error
        if job_id is not None and self.history.is_damaged(job_id):
            raise Precondition(
                "REQUEST_DAMAGED",
                f"request id {request_id!r} has started a job whose record is damaged; nothing is "
                "started a second time under it",
            )
        return None if job_id is None else self.history.by_id(job_id)

    def get(self, handle: str, *, owner: str | None = None) -> Job:
        """The job of a handle. Raises JobNotFound, the same for unknown and for foreign."""
        return self.history.get(handle, owner=owner)

    def list(self, owner: str | None = None, *, include_finished: bool = False) -> list[Job]:
        """Jobs newest first; of one owner, or of all."""
        return self.history.list(owner, include_finished=include_finished)

    def watch(self, owner: str, after: int | None = None) -> ChangeReader:
        """A reader of the changes of a client's jobs, behind a number that an earlier reader had,
        or from now on; the caller's to close. No checkpoint. Raises Unavailable if the records
        cannot be read now.

        A reader that cannot have every change behind ``after`` is told (``must_list``).
        """
        return self._change_readers.open(owner, after)

    def remove(self, job: Job) -> None:
        """Forgets a finished job and its output. No checkpoint. Raises Precondition."""
        self.history.remove(job)

    def _begin(self, owner: str, spec: JobSpec, request_id: str | None) -> Job:
        if self._closing:
            raise Unavailable("the server is shutting down")
        if self._backend.is_silent():
            raise SupervisorSilent("the supervisor does not answer; nothing was begun: ask again")
        # No checkpoint from here on, until the job is in the history and has the name.
        job = self._recorder.record(owner, spec, request_id)
        self._nursery.start_soon(self._tasks.run, job)
        return job

    def take_over(self, recovered: Sequence[Recovered], unknown: Sequence[HeldJob]) -> None:
        """Jobs that run on get their tasks in this manager's nursery; those of ``unknown``, which
        have no record, are ended. No checkpoint."""
        early, self._early = self._early or [], None
        for changed in early:
            self._limits_changed(changed)
        for each in recovered:
            self._nursery.start_soon(self._tasks.take_over, each)
            self._paused_changed(each.job.id)  # while no server was there, or one that was killed
        for left in unknown:
            close_pipes(self.history.disk, left.pipes)
            self._backend.release(left.id)
            if self.history.by_id(left.id) is None:  # otherwise only its release was missing
                say(f"job {left.id} is in no record and was ended")
                try_audit(self._audit, "job.unknown", {"job": left.id, "owner": left.owner})

    def _limits_changed(self, changed: Changed) -> None:
        job = self.history.by_id(changed.id)
        if job is None and self._early is not None:
            self._early.append(changed)
        if job is None or job.end is not None:
            return
        job.limits_changed(changed)
        for change in changed.changes:
            about = {"job": job.id, "handle": job.handle, "owner": job.owner}
            try_audit(self._audit, "limits.changed", about | asdict(change))

    def _paused_changed(self, job_id: str) -> None:
        """A change for watchers, if that is not recorded yet. Where it cannot be recorded,
        ``keep_records_in_place`` does it later."""
        job = self.history.by_id(job_id)
        if job is None or not job.handle or job.end is not None:
            return
        try:
            self._store.set_paused(job_id, self._backend.is_paused(job_id))
        except sqlite3.Error as error:
            say(f"job {job.handle} is paused or resumed, and watchers are told later: {error}")

    def use(self, keeping: RetentionSettings) -> None:
        """Other settings for output and history, from now on: see History.use. No checkpoint."""
        self.history.use(keeping)

    def keep_records_in_place(self) -> str:
        """Writes the records anew if another process has removed their files; why that is not
        possible, or "".

        No checkpoint. Each change of a record does the same; this is for a server that records
        nothing for long. So are the removal of changes that are too old, and what watchers were not
        told of pauses because it could not be recorded.
        """
        try:
            self._store.keep_in_place()
            self._store.changes.prune()
            for job_id in self._store.paused() ^ {job.id for job in self.list() if job.paused}:
                self._paused_changed(job_id)
        except sqlite3.Error as error:
            return str(error)
        return ""

    def leave(self, *, leave: bool = True) -> None:
        """Closing the manager lets the jobs run on, for the next server to take over. No
        checkpoint. Until then starts are served: a client on a connection that still drains cannot
        know better, and a job of the last moment is taken over like any other.

        ``leave`` False: closing it stops them after all.
        """
        self._leaving = leave

    async def stop_all(self, by: str) -> None:
        """Stops what still runs, all at once, and rejects new starts.

        Bounded by grace, KILL and UNKILLABLE_S after it; what has not ended then is given
        up. After ``leave`` nothing is stopped.

        After ``leave`` it has no checkpoint.

        Cancellation: minimum cleanup; C11, C12.
        """
        self._closing = True
        if not self._leaving:
            # Scope S4.stop_all.
            with trio.move_on_after(SHUTDOWN_GRACE_S + UNKILLABLE_S):
                # Scope S4.stops.
                async with trio.open_nursery() as nursery:
                    for job in self.list():
                        nursery.start_soon(self._stop_one, job, by)
        self._tasks.end_now()

    async def _stop_one(self, job: Job, by: str) -> None:
        with contextlib.suppress(Precondition, Unavailable):
            try:
                await job.stop(by=by, reason="shutdown", grace_s=SHUTDOWN_GRACE_S)
            except SupervisorSilent:  # KILL does not need it, so wait as long as there is time
                await job.finished.wait()


def _open_store(path: str) -> tuple[Store, list[str]]:
    try:
        return open_store(path)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"{path} cannot be opened: {error}") from error


@uninterrupted_context
@contextlib.asynccontextmanager
async def open_manager(
    backend: Backend,
    state_dir: str,
    *,
    audit: Audit = no_audit,
    keeping: RetentionSettings | None = None,
    disk: Disk | None = None,
) -> AsyncIterator[Manager]:
    """A Manager over a state directory that it holds alone. Raises Unavailable if it cannot.

    ``keeping`` says how much output and history there may be; everything is kept without it.

    ``audit`` is called with an event and its fields for every change of a job's state; a
    start whose ``job.starting`` raises does not happen. Jobs of an earlier manager that the backend
    holds continue in this one. Leaving the block stops all jobs, shielded but bounded (see
    Manager.stop_all), or leaves them to the next one (see Manager.leave). What the block raises
    comes out as it is, in no group.

    Cancellation: completes; C11, C12, C13, C28, C40, C55, C60.
    """
    with lock_directory(state_dir):
        store, complaints = _open_store(os.path.join(state_dir, "penstock.db"))
        try:
            for complaint in complaints:
                say(complaint)
                try_audit(audit, "records.damaged", {"message": complaint})
            swept = backend.capabilities().get("swept", {})
            if any(swept.values()):
                try_audit(audit, "groups.swept", swept)
            history = History(store, state_dir, audit, keeping or RetentionSettings(), disk)
            manager = Manager(backend, store, audit, history)
            boot_id = str(backend.capabilities().get("boot_id", ""))
            held = {each.id: each for each in await backend.take_held()}
            try:
                recovered = JobRecovery(history, store, audit).recover(held, boot_id)
            except (sqlite3.Error, Unavailable) as error:
                history.let_go()
                for left in held.values():
                    close_pipes(history.disk, left.pipes)
                if isinstance(error, Unavailable):
                    raise
                raise Unavailable(f"what was lost cannot be recorded: {error}") from error
            for each in recovered:
                del held[each.job.id]
            async with manager.open_nursery():
                manager.take_over(recovered, list(held.values()))
                yield manager
        finally:
            store.close()
