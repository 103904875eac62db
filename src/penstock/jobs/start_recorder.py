"""Records that a job begins, before anything of it exists: its name, row, audit line and log.

In this order, because a client that was cut off asks by its request id what became of its start,
and what is not recorded must not run. If a part fails, those before it are undone.
"""

import secrets
import sqlite3
import time

from .backends.base import Backend, JobSpec
from .history import History
from .job import Job
from .job_errors import InvalidRequest, Unavailable
from .job_spec import mistake_in_names
from .reporting import Audit, say
from .store import Store


class StartRecorder:
    """Makes the jobs of one manager, each of them ``starting``."""

    def __init__(self, backend: Backend, store: Store, audit: Audit, history: History) -> None:
        self._backend = backend
        self._store = store
        self._audit = audit
        self._history = history

    def record(self, owner: str, spec: JobSpec, request_id: str | None) -> Job:
        """The job, recorded and in the history. No checkpoint.

        Raises InvalidRequest for a name or label that cannot be, NameInUse, and Unavailable if a
        part of it cannot be recorded now; nothing is left of it then.
        """
        mistake = mistake_in_names(spec.name, spec.labels)
        if mistake is not None:
            raise InvalidRequest(*mistake)
        self._history.check_name(owner, spec.name)
        job_id = secrets.token_hex(16)
        policy_hash = str(self._backend.capabilities().get("policy", ""))
        try:
            sequence = self._store.insert_starting(
                job_id, owner, spec, policy_hash, time.time_ns(), request_id
            )
        except sqlite3.Error as error:
            say(f"job {job_id} of {owner}: {error}")
            raise Unavailable("jobs cannot be recorded now; the server's log says why") from error
        bound = self._history.bound_of(spec)
        try:
            about = {"job": job_id, "owner": owner, "command": spec.command}
            self._audit("job.starting", about)
            log = self._history.create_log(job_id, owner, bound)
        except Exception as error:  # the embedder's callback can raise anything
            self._history.never_was(job_id)
            say(f"job {job_id} of {owner} is not started: {error}")
            raise Unavailable(
                "what a job does cannot be written down now; the server's log says why"
            ) from error
        job = Job(job_id, sequence, owner, spec, policy_hash, log, bound)
        job.generation = self._backend.generation
        self._history.begun(job)
        return job
