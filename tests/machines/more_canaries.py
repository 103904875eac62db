"""Planted bugs that nobody loses a byte by: what clients are told, and what outlives a server."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import trio

from penstock.jobs.end_record import EndRecord
from penstock.jobs.history import History
from penstock.jobs.input import JobInput, Sender
from penstock.jobs.job import Job
from penstock.jobs.job_filter import JobFilter
from penstock.jobs.jobs_by_owner import JobsByOwner, JobWalk
from penstock.jobs.manager import Manager
from penstock.jobs.output.gaps import Gap
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.reader import OutputReader
from penstock.jobs.output.segment_chain import SPLICE_BYTES
from penstock.jobs.output.segment_index import StreamNumber
from penstock.jobs.start_recorder import StartRecorder
from penstock.jobs.stop_notes import StopAsked, StopNotes
from penstock.server.access import AskedCall

from .planting import instead


@contextlib.contextmanager
def forgotten_stop() -> Iterator[None]:
    """Whoever takes a job over does not look whether it was being stopped."""

    def of(cls: Any, fields: dict[str, Any]) -> StopNotes:
        return StopNotes()

    with instead(StopNotes, "of", classmethod(of)):
        yield


@contextlib.contextmanager
def needless_grace() -> Iterator[None]:
    """A grace of nothing is taken for none that was asked for: the command's own counts."""

    def grace_s(self: StopAsked, own_s: float) -> float:
        return min(self._first_s or own_s, self._others_s or own_s)

    with instead(StopAsked, "grace_s", grace_s):
        yield


@contextlib.contextmanager
def cut_grace() -> Iterator[None]:
    """Nobody gets a longer grace than the command's own."""
    true = StopAsked.grace_s

    def grace_s(self: StopAsked, own_s: float) -> float:
        return min(own_s, true(self, own_s))

    with instead(StopAsked, "grace_s", grace_s):
        yield


@contextlib.contextmanager
def ownerless_task() -> Iterator[None]:
    """Who stops a job has its patience watched by a task of no nursery's, which nobody ends."""
    true = Job.stop

    async def stop(self: Job, **how: Any) -> tuple[EndRecord, bool]:
        if self.end is None:
            trio.lowlevel.spawn_system_task(self.unkillable.wait)
        return await true(self, **how)

    with instead(Job, "stop", stop):
        yield


@contextlib.contextmanager
def overlooked_chunk() -> Iterator[None]:
    """Who reads one stream alone passes over a run of it now and then, as over the other's."""
    true = OutputReader.take
    count = 0

    def take(self: OutputReader) -> Any:
        nonlocal count
        piece = true(self)
        if isinstance(piece, Gap) or piece is None or len(self.streams) == 2:
            return piece
        count += 1
        return piece if count % 5 else None

    with instead(OutputReader, "take", take):
        yield


@contextlib.contextmanager
def needless_gap() -> Iterator[None]:
    """A long output is not kept, which is said, though nothing bounds it and the disk is well."""
    true = OutputLog.move

    def move(
        self: OutputLog,
        pipe_fd: int,
        stream: StreamNumber,
        most: int = SPLICE_BYTES,
        *,
        spare_bytes: int = 0,
    ) -> int:
        if self.length > 50_000:
            return self.discard(pipe_fd, "disk", most)
        return true(self, pipe_fd, stream, most, spare_bytes=spare_bytes)

    with instead(OutputLog, "move", move):
        yield


@contextlib.contextmanager
def early_end_of_input() -> Iterator[None]:
    """A sender that leaves, or is cut off, ends the job's input."""
    true = JobInput.leave

    def leave(self: JobInput, sender: Sender) -> None:
        last = self._sender is sender
        true(self, sender)
        if last and not self._held and self._closed is None:
            self.close("its sender has left")
            self._on_end()

    with instead(JobInput, "leave", leave):
        yield


@contextlib.contextmanager
def skipped_input() -> Iterator[None]:
    """A byte is counted and not written, where a request goes on after the third thousand."""
    true = JobInput._accept

    def accept(self: JobInput, data: bytes) -> None:
        if self.accepted >= 3000 and len(data) > 1:
            self.accepted += 1
            data = data[1:]
        true(self, data)

    with instead(JobInput, "_accept", accept):
        yield


@contextlib.contextmanager
def unwritten_start() -> Iterator[None]:
    """A job is started though the audit log does not take the line about it."""
    true = StartRecorder.record

    def record(self: StartRecorder, *what: Any) -> Job:
        audit = self._audit

        def lenient(event: str, fields: Any) -> None:
            with contextlib.suppress(Exception):
                audit(event, fields)

        self._audit = lenient
        try:
            return true(self, *what)
        finally:
            self._audit = audit

    with instead(StartRecorder, "record", record):
        yield


@contextlib.contextmanager
def unlisted() -> Iterator[None]:
    """What an earlier server has seen to its end is in nobody's list."""
    true = JobWalk.next_slice

    def next_slice(self: JobWalk) -> list[Job]:
        jobs = true(self)
        return [job for job in jobs if job.end is None or job.log_if_loaded is not None]

    with instead(JobWalk, "next_slice", next_slice):
        yield


@contextlib.contextmanager
def name_race() -> Iterator[None]:
    """A name is looked for among jobs that run: two starts at once have it both."""
    true = JobsByOwner.holder_of

    def holder_of(self: JobsByOwner, name: str) -> Job | None:
        job = true(self, name)
        return job if job is not None and job.begun.is_set() else None

    with instead(JobsByOwner, "holder_of", holder_of):
        yield


@contextlib.contextmanager
def forgotten_names() -> Iterator[None]:
    """Whoever takes jobs over does not know their names."""
    true = History.is_back

    def is_back(self: History, job: Job) -> None:
        true(self, job)
        self._by_owner[job.owner]._names.clear()

    with instead(History, "is_back", is_back):
        yield


@contextlib.contextmanager
def any_label() -> Iterator[None]:
    """A list of those with a label has those with another value of it."""
    true = JobFilter.matches

    def matches(self: JobFilter, job: Job) -> bool:
        return true(replace(self, label_keys=self.labels.keys(), labels={}), job)

    with instead(JobFilter, "matches", matches):
        yield


@contextlib.contextmanager
def foreign_call() -> Iterator[None]:
    """Whose a job is, is asked by Status alone."""
    with _asked_by(lambda verb: verb == "status"):
        yield


@contextlib.contextmanager
def foreign_stream() -> Iterator[None]:
    """Whose a job is, is asked by all but StreamOutput."""
    with _asked_by(lambda verb: verb != "stream"):
        yield


@contextlib.contextmanager
def _asked_by(asks: Callable[[str | None], bool]) -> Iterator[None]:
    true = AskedCall.find_job

    def find_job(self: AskedCall, pid: str, **more: object) -> Job:
        if asks(self.method.verb):
            return true(self, pid, **more)
        access, manager = self._access, self._access.manager
        lenient: Any = _Lenient(manager)
        access.manager = lenient
        try:
            return true(self, pid, **more)
        finally:
            access.manager = manager

    with instead(AskedCall, "find_job", find_job):
        yield


class _Lenient:
    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def get(self, handle: str, *, owner: str | None = None) -> Job:
        return self._manager.get(handle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)
