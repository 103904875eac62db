"""The last part of a job's task: its log is sealed and hashed, and its end recorded.

All processes are dead by then, and all their bytes are in the log. Before the record is durable no
client sees the end; see lifecycle.py.
"""

import sqlite3
from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted_methods
from .backends.base import Verdict
from .job import RECORD_PATIENCE_S, Job
from .output.digest_threads import Hashing
from .reporting import Audit, say, try_audit
from .stop import JobStop
from .store import Store
from .verdict import Ending, end_record

RECORD_AGAIN_S: Final = 1.0
# Hashed in 0.1 ms, which is less than the way to a thread and back.
_HASH_HERE_BYTES: Final = 64 * 1024


@uninterrupted_methods
class EndRecorder:
    """Records the end of one job; ``stop`` knows what of it was asked for."""

    def __init__(
        self, job: Job, stop: JobStop, store: Store, audit: Audit, hashing: Hashing
    ) -> None:
        self._job = job
        self._stop = stop
        self._store = store
        self._audit = audit
        self._hashing = hashing
        self._digest_error: OSError | None = None

    async def record(self, verdict: Verdict) -> None:
        """Returns when the end is durable, and has shown it to readers and waiting callers then.

        It tries as long as the disk takes nothing, because an end that was seen must be kept.

        No checkpoint where the output is short and the disk takes the record.

        Cancellation: minimum cleanup; C8, C23, C29.
        """
        job = self._job
        # All bytes are in the log. Hashing a GiB takes seconds, hence the thread; it reads
        # files that no task appends to any more, and is abandoned if end_now comes.
        sha256 = ""
        sealed = job.log.seal()  # before the record, so that nothing is appended after it
        try:
            digest = job.log.digest()
            if digest.size <= _HASH_HERE_BYTES:
                sha256 = digest.sha256()
            else:
                sha256 = await self._hashing.sha256(digest, self._hashing_stands_still)
        except OSError as error:  # a bad sector under one log must not end the server
            self._digest_error = error
        end = end_record(verdict, self._ending(), job.log, sha256, sealed=sealed)
        tried_since = trio.current_time()
        while True:
            try:
                self._store.set_finished(job.id, end)
                break
            except sqlite3.Error as error:
                # A full disk, most likely. The job stays `ending` until its end is durable, and
                # waiting callers get NotRecorded after RECORD_PATIENCE_S.
                say(f"the end of job {job.handle}: {error}")
                if trio.current_time() - tried_since >= RECORD_PATIENCE_S:
                    job.is_unrecorded()
                await trio.sleep(RECORD_AGAIN_S)
        job.has_ended(end, verdict.counters)
        about = audit_fields(job) | {"reason": end.reason, "sha256": sha256}
        try_audit(self._audit, "job.finished", about)

    def _hashing_stands_still(self) -> None:
        job = self._job
        say(f"the end of job {job.handle}: the disk gives no byte of its output, which is hashed")
        job.is_unrecorded()

    def _ending(self) -> Ending:
        asked, given = self._job.stop_asked, self._job.input
        return Ending(
            None if asked is None else asked.by,
            "" if asked is None else asked.reason,
            self._stop.notes.escalated,
            self._stop.output_error,
            self._stop.notes.output_full,
            self._digest_error,
            0 if given is None else given.accepted,
            given is not None and given.ended,
        )


def audit_fields(job: Job) -> dict[str, object]:
    """What the audit says of a job in each of its events."""
    return {"job": job.id, "handle": job.handle, "owner": job.owner, "argv": job.started.argv}
