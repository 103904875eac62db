"""Every job that can be named: found, listed, kept for a while, and forgotten with its output."""

import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from .backend import Held, JobSpec, Started
from .bounds import Budget, OutputBound
from .disk import Disk, RealDisk
from .errors import JobNotFound, Precondition
from .job import Job, StopAsked
from .keeping import Keeping
from .output import OutputLog
from .records import EndRecord
from .retention import Finished, expired, next_expiry
from .states import Event, State, after
from .store import DAMAGE, DamagedRecord, JobRecord, Store, described
from .telling import Audit, say, try_audit

_NANO: Final = 1e9


@dataclass(frozen=True, slots=True)
class Recovered:
    """A job that runs on."""

    job: Job
    started: Started


class History:
    """The jobs of one state directory. ``run`` is a task of the manager's."""

    def __init__(
        self,
        store: Store,
        state_dir: str,
        audit: Audit,
        keeping: Keeping,
        disk: Disk | None = None,
    ) -> None:
        self._store = store
        self._state_dir = state_dir
        self._audit = audit
        self._keeping = keeping
        self._disk: Disk = RealDisk() if disk is None else disk
        self._jobs: dict[str, Job] = {}
        self._by_handle: dict[str, Job] = {}
        self._server = Budget(keeping.server_bytes, reclaim=self._reclaim_largest)
        self._clients: dict[str, Budget] = {}
        self._changed = trio.Event()
        self._unwanted, self._to_remove = trio.open_memory_channel[str](math.inf)

    def directory(self, job_id: str) -> str:
        """Where a job's output is."""
        return os.path.join(self._state_dir, "jobs", job_id)

    def create_log(self, job_id: str, bound: OutputBound) -> OutputLog:
        """A new job's. Raises OSError; nothing of it is left then."""
        directory = self.directory(job_id)
        try:
            return OutputLog.create(directory, limit_bytes=bound.limit_bytes, disk=self._disk)
        except OSError:
            self._unwanted.send_nowait(directory)
            raise

    def bound_of(self, spec: JobSpec) -> OutputBound:
        """How much of a job's output is kept."""
        return self._keeping.bound_of(spec)

    def budget_of(self, owner: str) -> Budget:
        """What all logs of a client share."""
        if owner not in self._clients:

            def reclaim() -> bool:
                return self._reclaim(owner)

            self._clients[owner] = Budget(self._keeping.client_bytes, self._server, reclaim)
        return self._clients[owner]

    # Finding.

    def begun(self, job: Job) -> None:
        """It has an id; nobody can name it yet."""
        self._jobs[job.id] = job

    def running(self, job: Job) -> None:
        """It has a handle."""
        self._by_handle[job.handle] = job

    def finished(self, job: Job) -> None:
        """From now on it is kept as long as others like it."""
        self._changed.set()

    def by_id(self, job_id: str) -> Job | None:
        """The job of an id that no client sees."""
        return self._jobs.get(job_id)

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
            key=_sequence,
            reverse=True,
        )

    # Forgetting.

    def remove(self, job: Job) -> None:
        """Forgets a finished job. Who reads its output is told of a gap, then of its end.

        Raises Precondition: it has not finished, or the record cannot be removed now.
        """
        if job.end is None:
            raise Precondition(
                "NOT_FINISHED", f"job {job.handle} is {job.state.value}; stop it first"
            )
        if not self._forget(job, "removed"):
            raise Precondition("RECORDS", f"the record of job {job.handle} cannot be removed now")

    def never_was(self, job_id: str) -> None:
        """Nothing was started: record, request id and log of this id go."""
        self._jobs.pop(job_id, None)
        try:
            self._store.delete(job_id)
        except sqlite3.Error as error:  # the row stays `starting`: the next start removes it
            say(f"the record of job {job_id}: {error}")
        self._unwanted.send_nowait(self.directory(job_id))

    def _forget(self, job: Job, why: str) -> bool:
        assert job.end is not None
        try:
            self._store.delete(job.id)
        except sqlite3.Error as error:
            say(f"the record of job {job.handle} stays: {error}")
            return False
        del self._jobs[job.id]
        del self._by_handle[job.handle]
        if job.log_if_loaded is not None:
            job.log_if_loaded.remove()
        self.budget_of(job.owner).charge(-job.end.stored_bytes)
        self._unwanted.send_nowait(self.directory(job.id))
        about = {"job": job.id, "handle": job.handle, "owner": job.owner, "message": why}
        try_audit(self._audit, "job.removed", about)
        return True

    def _reclaim(self, owner: str) -> bool:
        """Forgets the client's oldest finished job that has output."""
        found = [job for job in self._finished_jobs() if job.owner == owner]
        for job in sorted(found, key=_ended_at):
            if job.end is not None and job.end.stored_bytes and self._forget(job, "room needed"):
                return True
        return False

    def _reclaim_largest(self) -> bool:
        """The one who uses most makes room first, so that nobody can push others out."""
        owners = sorted(self._clients, key=self._used_bytes, reverse=True)
        return any(self._reclaim(owner) for owner in owners)

    def _used_bytes(self, owner: str) -> int:
        return self._clients[owner].used_bytes

    def _finished_jobs(self) -> Iterator[Job]:
        return (job for job in self._jobs.values() if job.end is not None and job.handle)

    async def run(self) -> None:
        """Forgets what is too old or too many, and removes files, until cancelled.

        Cancelled: what is not removed yet is at the next start.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._remove_directories)
            retention = self._keeping.retention
            while True:
                self._changed = trio.Event()
                now = trio.current_time()
                kept = [Finished(job.id, job.owner, job.ended_at) for job in self._finished_jobs()]
                gone = set(expired(kept, retention, now))
                for job_id in gone:
                    self._forget(self._jobs[job_id], "no longer kept")
                # What could not be forgotten is tried again, but not at once.
                rest = [each for each in kept if each.id not in gone]
                wake_at = min(next_expiry(rest, retention), now + 3600.0 if gone else math.inf)
                with trio.move_on_at(wake_at):
                    await self._changed.wait()

    async def _remove_directories(self) -> None:
        async for directory in self._to_remove:
            # Freeing a GiB takes a while.
            await trio.to_thread.run_sync(self._disk.remove_tree, directory, abandon_on_cancel=True)

    # Recovery.

    def recover(self, held: Mapping[str, Held], *, remove_strays: bool) -> Sequence[Recovered]:
        """Loads what earlier lives left; those of ``held`` run on, and are returned.

        What ran then and is not held is lost, and says so. ``remove_strays``: output that no
        record speaks of goes.
        """
        known = set()
        recovered = []
        for record in self._store.load():
            known.add(record.id)
            if isinstance(record, DamagedRecord):
                self._say_damaged(record.id, record.why)
                continue
            try:
                if record.end is None and record.id in held:
                    recovered.append(self._take_over(record, held[record.id]))
                else:
                    self._recover_one(record)
            except (*DAMAGE, OSError) as error:
                self._say_damaged(record.id, f"{type(error).__name__}: {error}")
        for owner in list(self._clients):
            self._clients[owner].room_bytes()  # a smaller bound than before makes room now
        if remove_strays:
            for name in self._disk.names(os.path.join(self._state_dir, "jobs")):
                if name not in known:
                    self._unwanted.send_nowait(self.directory(name))
        return recovered

    def _take_over(self, record: JobRecord, held: Held) -> Recovered:
        bound = self.bound_of(record.spec)
        log = OutputLog.resume(
            self.directory(record.id), limit_bytes=bound.limit_bytes, disk=self._disk
        )
        started = held.started
        if record.handle is None:  # it was killed before it could record that it runs
            handle = self._store.set_running(record.id, started, "")
            record = replace(record, handle=handle, started=described(started, ""))
        job = Job.from_record(record, log, bound)
        job.state = after(job.state, Event.STARTED)
        if record.stop is not None:
            asked = record.stop
            grace_s = float(asked["grace_s"])
            job.stop_asked = StopAsked(str(asked["by"]), str(asked["reason"]), grace_s)
        self._jobs[job.id] = self._by_handle[job.handle] = job
        about = {"job": job.id, "handle": job.handle, "owner": job.owner}
        try_audit(self._audit, "job.taken_over", about)
        return Recovered(job, started)

    def _recover_one(self, record: JobRecord) -> None:
        if record.handle is None:  # nobody was ever told of it
            self._store.delete(record.id)
            self._unwanted.send_nowait(self.directory(record.id))
            about = {"job": record.id, "owner": record.owner, "reason": "never started"}
            try_audit(self._audit, "job.finished", about)
            return
        bound = self.bound_of(record.spec)
        end = record.end
        if end is None:
            log = OutputLog.load(self.directory(record.id), disk=self._disk)
            job = Job.from_record(record, log, bound)
            log.close_recovered()
            end = _lost(log)
            self._store.set_finished(record.id, end)
            about = {"job": record.id, "owner": record.owner, "reason": "lost"}
            try_audit(self._audit, "job.finished", about)
            job.set_ended(end)
        else:
            job = Job.from_record(record, self._loader(record.id, end), bound)
        age_s = max(0.0, (time.time_ns() - end.ended_ns) / _NANO)
        job.ended_at = trio.current_time() - age_s
        self._jobs[job.id] = self._by_handle[job.handle] = job
        self.budget_of(job.owner).charge(end.stored_bytes)

    def _loader(self, job_id: str, end: EndRecord) -> Callable[[], OutputLog]:
        def load() -> OutputLog:
            return OutputLog.load(
                self.directory(job_id), length=end.output_bytes, gaps=end.gaps, disk=self._disk
            )

        return load

    def _say_damaged(self, job_id: str, why: str) -> None:
        """One job's record is one job's misfortune: it is said, and all others are served."""
        say(f"the record of job {job_id} is damaged and left out: {why}")
        fields: Mapping[str, Any] = {"job": job_id, "message": why}
        try_audit(self._audit, "job.damaged", fields)


def _lost(log: OutputLog) -> EndRecord:
    return EndRecord(
        "lost",
        time.time_ns(),
        output_bytes=log.length,
        sha256_from=log.first,
        sha256_to=log.length,
        gaps=log.gaps(),
        stored_bytes=log.stored_bytes,
        detail="the server ended while the job ran",
    )


def _sequence(job: Job) -> int:
    return job.sequence


def _ended_at(job: Job) -> float:
    return job.ended_at
