"""Every job that can be named: found, listed, kept for a while, and forgotten with its output."""

import math
import os
import sqlite3
from collections import defaultdict
from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted_methods
from .backends.base import JobSpec
from .end_record import EndRecord
from .file_removals import FileRemovals
from .job import Job
from .job_errors import JobNotFound, NameInUse, Precondition
from .job_filter import JobFilter
from .jobs_by_owner import JobsByOwner, JobWalk
from .output.disk import Disk, RealDisk
from .output.output_log import OutputLog
from .output.output_quota import OutputBound, OutputBudget
from .output.retention import Shelf
from .reporting import Audit, say, try_audit
from .retention_settings import RetentionSettings
from .states import JobState
from .store import Store
from .verdict import lost_record

_NANO: Final = 1e9
_RECORDS_AGAIN_S: Final = 1.0
_FORGOTTEN_A_TURN: Final = 16  # each takes a transaction


@uninterrupted_methods
class History:
    """The jobs of one state directory. The manager runs ``run`` as a task of its own."""

    def __init__(
        self,
        store: Store,
        state_dir: str,
        audit: Audit,
        keeping: RetentionSettings,
        disk: Disk | None = None,
    ) -> None:
        self._store = store
        self.outputs = os.path.join(state_dir, "jobs")
        """The directory of all outputs."""
        self._audit = audit
        self._keeping = keeping
        self.disk: Disk = RealDisk() if disk is None else disk
        self._jobs: dict[str, Job] = {}
        self._by_handle: dict[str, Job] = {}
        self._by_owner: defaultdict[str, JobsByOwner] = defaultdict(JobsByOwner)
        self._damaged: set[str] = set()
        self._server = OutputBudget(keeping.server_bytes, reclaim=self._reclaim_for)
        self._clients: dict[str, OutputBudget] = {}
        self._shelf = Shelf(keeping.retention)
        self._records_again = -math.inf
        self._replaced = False
        """Settings that ``run`` has not looked at yet."""
        self._changed = trio.Event()
        self.removals = FileRemovals(store, self.outputs, self.disk)

    def directory(self, job_id: str) -> str:
        """The path of a job's output, whether or not it exists."""
        return os.path.join(self.outputs, job_id)

    def create_log(self, job_id: str, owner: str, bound: OutputBound) -> OutputLog:
        """The log of a new job. Raises OSError; its directory is removed soon then."""
        limit_bytes = self.budget_of(owner).least_limit(bound.limit_bytes)
        try:
            return OutputLog.create(self.directory(job_id), limit_bytes=limit_bytes, disk=self.disk)
        except OSError:
            self.removals.soon(job_id)
            raise

    def bound_of(self, spec: JobSpec) -> OutputBound:
        """How much of a job's output is kept, by the settings of this server, not of its start."""
        return self._keeping.bound_of(spec)

    def use(self, keeping: RetentionSettings) -> None:
        """From now on new jobs are kept as these settings say, and finished ones, too. Jobs that
        run keep the bound that they were started with. No checkpoint: ``run`` removes what there is
        too much of now."""
        self._keeping = keeping
        self._server.limit_bytes = keeping.server_bytes
        for budget in self._clients.values():
            budget.limit_bytes = keeping.client_bytes
        self._shelf.retention = keeping.retention
        self._replaced = True
        self._changed.set()
        self._server.wake()  # a larger bound is room for jobs that wait

    def budget_of(self, owner: str) -> OutputBudget:
        """What all logs of a client share; made at the first call for that client."""
        if owner not in self._clients:

            def reclaim(_: OutputBudget) -> bool:
                return self._reclaim(owner)

            self._clients[owner] = OutputBudget(self._keeping.client_bytes, self._server, reclaim)
        return self._clients[owner]

    # Finding.

    def begun(self, job: Job) -> None:
        """The job has an id; it has no handle yet, so no client can name it."""
        self._jobs[job.id] = job
        self._by_owner[job.owner].add(job)

    def running(self, job: Job) -> None:
        """The job has a handle, so its owner can name it from now on."""
        self._by_handle[job.handle] = job

    def finished(self, job: Job) -> None:
        """From now on the job is kept as long as others like it, and can make room for them."""
        self._by_owner[job.owner].finished(job)
        self._shelf.add(job.owner, job.id, job.ended_at)
        self._changed.set()
        self._server.wake()

    def by_id(self, job_id: str) -> Job | None:
        """The job of an id that no client sees; None if it is unknown, forgotten or damaged."""
        return self._jobs.get(job_id)

    def is_damaged(self, job_id: str) -> bool:
        """Whether there was such a job whose record cannot be read."""
        return job_id in self._damaged

    def get(self, handle: str, *, owner: str | None = None) -> Job:
        """The job of a handle. Raises JobNotFound, the same for unknown and for foreign."""
        job = self._by_handle.get(handle)
        if job is None or (owner is not None and job.owner != owner):
            raise JobNotFound(handle)
        return job

    def list(self, owner: str | None = None, *, include_finished: bool = False) -> list[Job]:
        """Jobs newest first; of one owner, which costs nothing for others' jobs, or of all. Those
        that have finished cost nothing where they are not wanted."""
        of_owners = self._by_owner.values() if owner is None else (self._by_owner[owner],)
        jobs = [
            job
            for of in of_owners
            for job in (of.all if include_finished else of.unfinished)
            if include_finished or job.state is not JobState.FINISHED
        ]
        return sorted(jobs, key=_sequence, reverse=True)

    def walk(self, owner: str, wanted: JobFilter, before: int | None = None) -> JobWalk:
        """Through those jobs of an owner that the filter matches, newest first, in slices;
        ``before``: only those whose sequence is below it. No checkpoint."""
        return JobWalk(self._by_owner[owner], wanted, before)

    def check_name(self, owner: str, name: str) -> None:
        """Raises NameInUse if an unfinished job of this owner has the name. No checkpoint."""
        holder = self._by_owner[owner].holder_of(name) if name else None
        if holder is not None:
            raise NameInUse(name, holder.handle)

    # Forgetting.

    def remove(self, job: Job) -> None:
        """Forgets a finished job. A reader of its output gets a gap, then the job's end.

        Raises Precondition: it has not finished, or the record cannot be removed now.
        """
        if job.end is None:
            raise Precondition(
                "NOT_FINISHED", f"job {job.handle} is {job.state.value}; stop it first"
            )
        if not self._forget(job, "removed"):
            raise Precondition("RECORDS", f"the record of job {job.handle} cannot be removed now")

    def never_was(self, job_id: str) -> None:
        """Nothing was started, so record, request id and log of this id go."""
        job = self._jobs.pop(job_id, None)
        if job is not None:
            self._by_owner[job.owner].discard(job)
        try:
            self._store.delete(job_id)
        except sqlite3.Error as error:  # the row stays `starting`: the next start removes it
            say(f"the record of job {job_id}: {error}")
        self.removals.soon(job_id)

    def _forget(self, job: Job, why: str) -> bool:
        assert job.end is not None
        if trio.current_time() < self._records_again:
            return False
        try:
            self._store.delete(job.id)
        except sqlite3.Error as error:
            self._records_again = trio.current_time() + _RECORDS_AGAIN_S
            say(f"the record of job {job.handle} stays: {error}")
            return False
        del self._jobs[job.id]
        del self._by_handle[job.handle]
        self._by_owner[job.owner].discard(job)
        self._shelf.discard(job.owner, job.id)
        if job.log_if_loaded is not None:
            job.log_if_loaded.remove()
        self.budget_of(job.owner).charge(-job.end.stored_bytes)
        self.removals.soon(job.id)
        about = {"job": job.id, "handle": job.handle, "owner": job.owner, "message": why}
        try_audit(self._audit, "job.removed", about)
        return True

    def _reclaim(self, owner: str) -> bool:
        """Forgets the client's oldest finished job that has output."""
        for job_id in self._shelf.oldest(owner):
            job = self._jobs[job_id]
            if job.end is not None and job.end.stored_bytes:
                return self._forget(job, "room needed")
        return False

    def _reclaim_for(self, asking: OutputBudget) -> bool:
        """The clients that use most make room first, and none for a client that uses more than it
        does itself."""
        least = asking.used_bytes
        owners = [owner for owner in self._clients if self._clients[owner].used_bytes >= least]
        return any(self._reclaim(owner) for owner in sorted(owners, key=self._used, reverse=True))

    def _used(self, owner: str) -> int:
        return self._clients[owner].used_bytes

    async def run(self) -> None:
        """Forgets what is too old or too many, and removes files, until cancelled.

        Cancelled: what is not removed yet is removed at the next start.

        Cancellation: minimum cleanup; C44.
        """
        # Scope S4.removing.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.removals.run)
            while True:
                self._changed = trio.Event()
                await self._forget_expired()
                if self._replaced:
                    self._replaced = False
                    await self._keep_within_budgets()
                # What could not be forgotten is tried again, but not at once.
                # Scope S4.expiry.
                with trio.move_on_at(max(self._shelf.next_expiry(), self._records_again)):
                    await self._changed.wait()

    async def _forget_expired(self) -> None:
        """In slices, because new settings can make it a hundred thousand at once."""
        keeping = self._keeping
        for count, job_id in enumerate(self._shelf.expired(trio.current_time())):
            job = self._jobs.get(job_id)  # removed by its owner between two slices
            if job is not None and not self._forget(job, "no longer kept"):
                return
            if count % _FORGOTTEN_A_TURN == _FORGOTTEN_A_TURN - 1:
                await trio.lowlevel.checkpoint()
                if self._keeping is not keeping:  # which may keep what is left of these
                    return

    async def _keep_within_budgets(self) -> None:
        """The same, for bounds that are smaller than before. Otherwise all of it would be done in
        one turn, for the next byte of any job."""
        asking = (
            OutputBudget()
        )  # of none of the clients, so that each of them may have to make room
        for owner in list(self._clients):
            while True:
                if not (self._clients[owner].is_over and self._reclaim(owner)):
                    break
                await trio.lowlevel.checkpoint()
        while True:
            if not (self._server.is_over and self._reclaim_for(asking)):
                break
            await trio.lowlevel.checkpoint()

    def lost(self, job: Job) -> EndRecord:
        """The record, now durable, of a job that this server gives up. Raises sqlite3.Error."""
        end = lost_record(
            job.log, sealed=job.log.seal(), why="the server gave it up; its log says why"
        )
        self._store.set_finished(job.id, end)
        about = {"job": job.id, "handle": job.handle, "owner": job.owner, "reason": "lost"}
        try_audit(self._audit, "job.finished", about)
        return end

    # What earlier lives have left (job_recovery.py).

    def is_back(self, job: Job) -> None:
        """The job of an earlier life can be named as before, and its output is charged again."""
        self._jobs[job.id] = self._by_handle[job.handle] = job
        self._by_owner[job.owner].add(job)
        if job.end is not None:
            self.budget_of(job.owner).charge(job.end.stored_bytes)

    def leave_out(self, job_id: str) -> None:
        """This job's record cannot be read; its request id must start no second job."""
        self._damaged.add(job_id)

    def all_are_back(self) -> None:
        """Recovery is complete: from now on finished jobs are kept as long as others like them."""
        finished = [job for job in self._jobs.values() if job.end is not None]
        for job in sorted(finished, key=_ended_at):
            self._shelf.add(job.owner, job.id, job.ended_at)
        for owner in list(self._clients):
            self._clients[owner].room_bytes()  # a smaller bound than before makes room now

    def let_go(self) -> None:
        """Closes what recovery has opened, because this server will not open after all. The next
        server can take the jobs over."""
        for job in self._jobs.values():
            if not job.log.ended:
                job.log.finish()


def _sequence(job: Job) -> int:
    return job.sequence


def _ended_at(job: Job) -> float:
    return job.ended_at
