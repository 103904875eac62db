"""What earlier lives of the server have left: taken over, ended as lost, or left out as damaged."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from .backends.base import HeldJob, StartedJob
from .end_record import EndRecord
from .history import History
from .input_note import Phase, read_note
from .job import Job
from .job_errors import Unavailable
from .job_rows import DAMAGE, DamagedRecord, JobRecord
from .output.output_log import OutputLog
from .output.recovery import SHORTAGES
from .reporting import Audit, say, try_audit
from .stop_notes import StopNotes
from .store import Store
from .verdict import lost_record

_NANO: Final = 1e9


@dataclass(frozen=True, slots=True)
class Recovered:
    """A job that runs on. With ``output_error`` nothing can be appended to its log."""

    job: Job
    begun: StartedJob
    stop: StopNotes | None
    output_error: OSError | None = None


class JobRecovery:
    """The recovery of one state directory, once, as its manager is opened."""

    def __init__(self, history: History, store: Store, audit: Audit) -> None:
        self._history = history
        self._disk = history.disk
        self._store = store
        self._audit = audit

    def recover(self, held: Mapping[str, HeldJob], boot_id: str) -> Sequence[Recovered]:
        """Loads what earlier lives left; those of ``held`` run on, and are returned.

        A job that ran then and is not held is lost, and its end record says so. Raises Unavailable
        where the host is short of something, and sqlite3.Error: the next server tries again.
        """
        known = self._store.removed()
        for job_id in known:
            self._history.removals.soon(job_id)
        recovered = []
        left_out = set()
        for record in self._store.load():
            known.add(record.id)
            if isinstance(record, DamagedRecord):
                left_out.add(record.id)
                self._say_damaged(record.id, record.why)
                continue
            try:
                if record.end is None and record.id in held:
                    recovered.append(self._take_over(record, held[record.id], boot_id))
                else:
                    self._recover_one(record)
            except (*DAMAGE, OSError) as error:
                if isinstance(error, OSError) and error.errno in SHORTAGES:
                    raise Unavailable(f"job {record.id}: {error}; the next server tries") from error
                left_out.add(record.id)
                self._say_damaged(record.id, f"{type(error).__name__}: {error}")
        self._store.note_left_out(left_out)
        self._history.all_are_back()
        self._look_for_strays(known)
        return recovered

    def _look_for_strays(self, known: set[str]) -> None:
        """Output without a record was some client's, so it is kept, for an operator to look at."""
        directory = self._history.outputs
        new = self._store.note_strays(set(self._disk.names(directory)) - known)
        if new:
            complaint = (
                f"{len(new)} directories in {directory} have no record, such as {min(new)}: "
                "records were lost. Look at them, and remove them if you want"
            )
            say(complaint)
            try_audit(self._audit, "records.lost", {"message": complaint})

    def _take_over(self, record: JobRecord, held: HeldJob, boot_id: str) -> Recovered:
        bound = self._history.bound_of(record.spec)
        limit_bytes = self._history.budget_of(record.owner).least_limit(bound.limit_bytes)
        directory, output_error = self._history.directory(record.id), None
        try:
            log = OutputLog.resume(directory, limit_bytes=limit_bytes, disk=self._disk)
        except OSError as error:
            if error.errno in SHORTAGES:
                raise
            say(f"the output of job {record.id} cannot be gone on with, so it is ended: {error}")
            log, output_error = OutputLog.load_stuck(directory, disk=self._disk), error
        started = held.started
        if record.handle is None:  # it was killed before it could record that it runs
            handle = self._store.set_running(record.id, started, boot_id)
            record = replace(record, handle=handle, started=started)
        job = Job.from_record(record, log, bound)
        stop = None if record.stop is None else StopNotes.of(record.stop)
        job.take_over(None if stop is None else stop.asked())
        self._history.is_back(job)
        about = {"job": job.id, "handle": job.handle, "owner": job.owner}
        try_audit(self._audit, "job.taken_over", about)
        return Recovered(job, StartedJob(started, held.pipes), stop, output_error)

    def _recover_one(self, record: JobRecord) -> None:
        if record.handle is None:  # no client was ever given a handle of it
            self._store.delete(record.id)
            self._history.removals.soon(record.id)
            about = {"job": record.id, "owner": record.owner, "reason": "never started"}
            try_audit(self._audit, "job.finished", about)
            return
        bound = self._history.bound_of(record.spec)
        end = record.end
        if end is None:
            log = OutputLog.load(self._history.directory(record.id), disk=self._disk)
            job = Job.from_record(record, log, bound)
            why = "the server ended while the job ran"
            end = lost_record(log, sealed=log.close_recovered(), why=why)
            if record.spec.stdin:
                given = read_note(self._history.directory(record.id), self._disk)
                accepted, ended = given.accepted, given.phase is Phase.ENDED
                end = replace(end, input_bytes=accepted, input_ended=ended)
            self._store.set_finished(record.id, end)
            about = {"job": record.id, "handle": job.handle, "owner": job.owner, "reason": "lost"}
            try_audit(self._audit, "job.finished", about)
            job.set_ended(end)
        else:
            job = Job.from_record(record, self._loader(record.id, end), bound)
        job.ended_ago(max(0.0, (time.time_ns() - end.ended_ns) / _NANO))
        self._history.is_back(job)

    def _loader(self, job_id: str, end: EndRecord) -> Callable[[], OutputLog]:
        def load() -> OutputLog:
            return OutputLog.load(
                self._history.directory(job_id),
                length=end.output_bytes,
                gaps=end.gaps,
                sealed=end.sealed,
                disk=self._disk,
            )

        return load

    def _say_damaged(self, job_id: str, why: str) -> None:
        """Logs and audits it, and leaves the job out, so that all others are served."""
        self._history.leave_out(job_id)
        say(f"the record of job {job_id} is damaged and left out: {why}")
        fields: Mapping[str, Any] = {"job": job_id, "message": why}
        try_audit(self._audit, "job.damaged", fields)
