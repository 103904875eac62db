"""All jobs of one state directory: ids, owners, request ids, order of records, recovery."""

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Final

import trio

from .backend import Backend, JobSpec
from .errors import JobNotFound, Precondition, RequestConflict, Unavailable
from .job import UNKILLABLE_S, Audit, Job, say, try_audit
from .output import OutputLog
from .records import EndRecord
from .salvage import open_store
from .states import State
from .store import DAMAGE, DamagedRecord, JobRecord, Store, lock_directory

# Bounds what a shutdown adds to a command's own grace.
SHUTDOWN_GRACE_S: Final = 3.0


def no_audit(event: str, fields: object) -> None:
    """The library's default: nobody wants to know."""


class Manager:
    """Starts, finds and lists jobs. Made by open_manager."""

    def __init__(
        self,
        backend: Backend,
        store: Store,
        state_dir: str,
        audit: Audit,
    ) -> None:
        self._backend = backend
        self._store = store
        self._jobs_dir = os.path.join(state_dir, "jobs")
        self._audit = audit
        self._nursery: trio.Nursery
        self._jobs: dict[str, Job] = {}
        self._by_handle: dict[str, Job] = {}
        self._closing = False

    @contextlib.asynccontextmanager
    async def open_nursery(self) -> AsyncIterator[None]:
        """S4: owns every job's task; ends when the last one has."""
        async with trio.open_nursery() as self._nursery:
            yield

    def recover(self) -> None:
        """Loads what earlier lives left; what was running then is lost, and says so.

        Taking over running jobs is not built yet: the supervisor kills them with the
        server's connection.
        """
        for record in self._store.load():
            if isinstance(record, DamagedRecord):
                self._say_damaged(record.id, record.why)
                continue
            try:
                self._recover_one(record)
            except (*DAMAGE, OSError) as error:
                self._say_damaged(record.id, f"{type(error).__name__}: {error}")

    def _recover_one(self, record: JobRecord) -> None:
        log = OutputLog.load(os.path.join(self._jobs_dir, record.id))
        if record.handle is None:  # nobody was ever told of it: the request can be made again
            self._store.forget_requests_of(record.id)
        if record.end is None:
            self._end_lost(record, log)
        elif record.handle is not None:
            self._add(Job.from_record(record, log))

    def _say_damaged(self, job_id: str, why: str) -> None:
        """One job's record is one job's misfortune: it is said, and all others are served."""
        say(f"the record of job {job_id} is damaged and left out: {why}")
        try_audit(self._audit, "job.damaged", {"job": job_id, "message": why})

    def _end_lost(self, record: JobRecord, log: OutputLog) -> None:
        never = record.state == "starting"
        end = EndRecord(
            "lost",
            time.time_ns(),
            output_bytes=log.length,
            detail="never started" if never else "the server ended while the job ran",
        )
        self._store.set_finished(record.id, end)
        about = {"job": record.id, "owner": record.owner, "reason": "lost"}
        try_audit(self._audit, "job.finished", about)
        if record.handle is not None:
            job = Job.from_record(record, log)
            job.set_ended(end)
            self._add(job)

    def _add(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._by_handle[job.handle] = job

    async def start(self, owner: str, spec: JobSpec, *, request_id: str | None = None) -> Job:
        """Starts a job and returns when its process runs.

        Completes: cancelled half-way, the start goes on without the caller; either nothing
        comes of it, or the job is in its owner's list. The same request id of the same
        owner gives the job of the first time. Raises RequestConflict if that had another
        body, and what the start failed with: NotGranted, InvalidRequest, Precondition,
        Exhausted, Unavailable.
        """
        job = self.find_request(owner, request_id) if request_id is not None else None
        if job is not None:
            if job.spec != spec:
                raise RequestConflict(
                    f"request id {request_id!r} was used before, for another start"
                )
        else:
            job = self._begin(owner, spec, request_id)
        await job.wait_begun()
        return job

    def find_request(self, owner: str, request_id: str) -> Job | None:
        """The job that this request id of this owner has started, or is starting."""
        job_id = self._store.find_request(owner, request_id)
        return None if job_id is None else self._jobs.get(job_id)

    def _begin(self, owner: str, spec: JobSpec, request_id: str | None) -> Job:
        if self._closing:
            raise Unavailable("the server is shutting down")
        job_id = secrets.token_hex(16)
        policy_hash = str(self._backend.capabilities().get("policy", ""))
        try:
            sequence = self._store.insert_starting(
                job_id, owner, spec, policy_hash, time.time_ns(), request_id
            )
        except sqlite3.Error as error:
            raise Precondition("RECORDS", f"the job cannot be recorded: {error}") from error
        try:
            about = {"job": job_id, "owner": owner, "command": spec.command}
            self._audit("job.starting", about)
            log = OutputLog.create(os.path.join(self._jobs_dir, job_id))
        except Exception as error:
            reason = "OUTPUT" if isinstance(error, OSError) else "AUDIT"
            self._never_started(job_id, owner, request_id, str(error))
            raise Precondition(reason, f"the job cannot be started: {error}") from error
        job = Job(job_id, sequence, owner, spec, policy_hash, log)
        self._jobs[job_id] = job
        self._nursery.start_soon(self._run, job, request_id)
        return job

    async def _run(self, job: Job, request_id: str | None) -> None:
        """S5: the job's own task."""
        await job.run(self._backend, self._store, self._audit, self._add)
        if not job.handle:  # nothing was started: nobody can name it, and its id is free again
            del self._jobs[job.id]
            self._forget_request(job.id, job.owner, request_id)

    def _never_started(self, job_id: str, owner: str, request_id: str | None, why: str) -> None:
        try:
            self._store.set_finished(
                job_id, EndRecord("failed_to_start", time.time_ns(), detail=why)
            )
        except sqlite3.Error as error:  # the row stays `starting`: the next start says `lost`
            say(f"the end of job {job_id}: {error}")
        self._forget_request(job_id, owner, request_id)

    def _forget_request(self, job_id: str, owner: str, request_id: str | None) -> None:
        if request_id is None:
            return
        try:
            self._store.forget_request(owner, request_id)
        except sqlite3.Error as error:  # it names no job that lives, so the next start takes it
            say(f"the request id of job {job_id}: {error}")

    def get(self, handle: str, *, owner: str | None = None) -> Job:
        """The job of a handle. Raises JobNotFound, the same for unknown and for foreign."""
        job = self._by_handle.get(handle)
        if job is None or (owner is not None and job.owner != owner):
            raise JobNotFound(handle)
        return job

    def list(self, owner: str | None = None, *, include_finished: bool = False) -> list[Job]:
        """Jobs newest first; of one owner, or of all."""
        return sorted(
            (
                job
                for job in self._jobs.values()
                if (owner is None or job.owner == owner)
                and (include_finished or job.state is not State.FINISHED)
            ),
            key=lambda job: job.sequence,
            reverse=True,
        )

    async def stop_all(self, by: str) -> None:
        """Stops what still runs, all at once, and takes no new starts.

        Bounded: grace, KILL and the patience after it; what has not ended then is given
        up. Minimum cleanup.
        """
        self._closing = True
        running = [job for job in self._jobs.values() if job.state is not State.FINISHED]
        with trio.move_on_after(SHUTDOWN_GRACE_S + UNKILLABLE_S):
            async with trio.open_nursery() as nursery:
                for job in running:
                    nursery.start_soon(self._stop_one, job, by)
        for job in running:
            job.end_now()

    async def _stop_one(self, job: Job, by: str) -> None:
        with contextlib.suppress(Precondition):
            await job.stop(by=by, reason="shutdown", grace_s=SHUTDOWN_GRACE_S)


def _open_store(path: str) -> tuple[Store, list[str]]:
    try:
        return open_store(path)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"{path} cannot be opened: {error}") from error


@contextlib.asynccontextmanager
async def open_manager(
    backend: Backend, state_dir: str, *, audit: Audit = no_audit
) -> AsyncIterator[Manager]:
    """A Manager over a state directory that it holds alone. Raises Unavailable if it cannot.

    ``audit`` is called with an event and its fields for every change of a job's state; a
    start whose ``job.starting`` raises does not happen. Leaving the block stops all jobs,
    shielded but bounded (see Manager.stop_all).
    """
    with lock_directory(state_dir):
        store, complaints = _open_store(os.path.join(state_dir, "penstock.db"))
        try:
            for complaint in complaints:
                say(complaint)
                try_audit(audit, "records.damaged", {"message": complaint})
            manager = Manager(backend, store, state_dir, audit)
            try:
                manager.recover()
            except sqlite3.Error as error:
                raise Unavailable(f"what was lost cannot be recorded: {error}") from error
            async with manager.open_nursery():
                try:
                    yield manager
                finally:
                    # Ends by stop_all's own bound; without it no end record would be written.
                    with trio.CancelScope(shield=True):
                        await manager.stop_all("server")
        finally:
            store.close()
