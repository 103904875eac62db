"""Bugs that are planted, to see whether the search finds them.

Each is a context manager that puts a faulty version in the place of one or two functions of the
product, here in the tests and nowhere else; every one is a mistake that somebody might make. The
plant raises nothing: it is found by an invariant, or it is not found.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from penstock.jobs import job_errors
from penstock.jobs.backends.base import Verdict
from penstock.jobs.change_reader import ChangeReader
from penstock.jobs.change_table import ChangeTable
from penstock.jobs.end_record import EndRecord
from penstock.jobs.history import History
from penstock.jobs.input import JobInput
from penstock.jobs.job import Job
from penstock.jobs.job_filter import JobFilter
from penstock.jobs.job_recovery import JobRecovery
from penstock.jobs.job_rows import JobRecord
from penstock.jobs.jobs_by_owner import JobsByOwner, JobWalk
from penstock.jobs.lifecycle import JobRunner
from penstock.jobs.manager import Manager
from penstock.jobs.output.gaps import GapReason
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.reader import OutputReader
from penstock.jobs.output.segment_chain import SPLICE_BYTES
from penstock.jobs.start_recorder import StartRecorder
from penstock.jobs.stop_notes import StopAsked, StopNotes
from penstock.jobs.store import Store
from penstock.server.access import AskedCall

from .more_canaries import (
    any_label,
    cut_grace,
    early_end_of_input,
    foreign_call,
    foreign_stream,
    forgotten_names,
    forgotten_stop,
    name_race,
    needless_gap,
    needless_grace,
    overlooked_chunk,
    ownerless_task,
    skipped_input,
    unlisted,
    unwritten_start,
)
from .planting import instead
from .process import Process
from .run import run_many
from .timeline import Broken
from .watch_canaries import late_change, skipped_change, unasked_watch

Plant = Callable[[], AbstractContextManager[None]]


@contextlib.contextmanager
def lost_wakeup() -> Iterator[None]:
    """A reader that has read to the end forgets wake-ups it takes for old ones, after a
    checkpoint: one that came in between is lost."""

    async def wait_ready(self: OutputReader) -> bool:
        while True:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._stop is not None and self._cursor.offset >= self._stop:
                return False
            if self._cursor.offset < self._log.length:
                return True
            if self._log.ended:
                return False
            await trio.lowlevel.checkpoint()
            with contextlib.suppress(trio.WouldBlock):
                self._wakeups._receive.receive_nowait()
            await self._wakeups.wait()

    with instead(OutputReader, "wait_ready", wait_ready):
        yield


@contextlib.contextmanager
def late_subscription() -> Iterator[None]:
    """A reader that has caught up goes live a checkpoint later, at what is the end then: what was
    appended in between it never sees."""
    true = OutputReader.wait_ready
    live: set[OutputReader] = set()

    async def wait_ready(self: OutputReader) -> bool:
        if self.must_wait and self not in live:
            await trio.lowlevel.checkpoint()
            live.add(self)
            self.skip(self._log.length)
        return await true(self)

    with instead(OutputReader, "wait_ready", wait_ready):
        yield


@contextlib.contextmanager
def early_stop() -> Iterator[None]:
    """A stop answers when the main process has ended; the rest of the tree may live."""
    true = Job.stop

    async def stop(self: Job, **how: Any) -> tuple[EndRecord, bool]:
        backend = self.backend
        if self.end is not None or backend is None:
            return await true(self, **how)
        with contextlib.suppress(job_errors.Unavailable):
            self.ask_stop(**how)
        await backend.wait_main_exited(self.id)
        return EndRecord("stopped", 1), False

    with instead(Job, "stop", stop):
        yield


@contextlib.contextmanager
def early_end() -> Iterator[None]:
    """A job has ended when its main process has."""
    true = JobRunner.__init__

    class Hasty:
        def __init__(self, backend: Any) -> None:
            self._backend = backend

        def __getattr__(self, name: str) -> Any:
            return getattr(self._backend, name)

        async def wait(self, job_id: str) -> Verdict:
            await self._backend.wait_main_exited(job_id)
            return Verdict("exited", 0)

    def init(self: JobRunner, job: Job, backend: Any, *more: Any) -> None:
        true(self, job, Hasty(backend), *more)

    with instead(JobRunner, "__init__", init):
        yield


@contextlib.contextmanager
def second_end() -> Iterator[None]:
    """A server takes over what the supervisor holds, also if it has an end record already, and
    the store does not mind."""
    true, true_recover = Store.load, JobRecovery.recover
    held: Any = {}

    def recover(self: JobRecovery, given: Any, boot_id: str) -> Any:
        nonlocal held
        held = given
        return true_recover(self, given, boot_id)

    def load(self: Store) -> Iterator[Any]:
        for record in true(self):
            if isinstance(record, JobRecord) and record.end is not None and record.id in held:
                yield replace(record, end=None)
            else:
                yield record

    def set_finished(self: Store, job_id: str, end: EndRecord) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'finished', end = ? WHERE id = ?", (end.to_json(), job_id)
            )
            self.changes.write(job_id, "finished")

    with (
        instead(JobRecovery, "recover", recover),
        instead(Store, "load", load),
        instead(Store, "set_finished", set_finished),
    ):
        yield


@contextlib.contextmanager
def leaked_reader() -> Iterator[None]:
    """A reader whose stream was reset, so that its task is cancelled, is not closed: as if there
    were a checkpoint before it is."""
    true = OutputReader.close

    def close(self: OutputReader) -> None:
        if trio.current_effective_deadline() != -float("inf"):
            true(self)

    with instead(OutputReader, "close", close):
        yield


@contextlib.contextmanager
def signal_after_reap() -> Iterator[None]:
    """A signal goes to the pid that the job had, whoever has it now."""

    async def signal(self: Job, number: int, *, tree: bool = False) -> int:
        await self.begun.wait()
        if not Process.kill_pid(self.started.pid, number):
            raise job_errors.Precondition("NOT_RUNNING", f"job {self.handle} has ended")
        return 1

    with instead(Job, "signal", signal):
        yield


@contextlib.contextmanager
def doubled_chunk() -> Iterator[None]:
    """Whoever takes a log over appends its last run once more, as if that were still in the
    pipe."""
    true = OutputLog.__dict__["resume"].__func__

    def resume(cls: Any, directory: str, /, **how: Any) -> OutputLog:
        log: OutputLog = true(cls, directory, **how)
        segment = log._chain._current
        if segment is not None and segment._last is not None:
            data = segment.read(segment._last.offset, SPLICE_BYTES)
            with contextlib.suppress(OSError):
                log.disk.write(segment._data_fd, data, segment.end - segment.start)
                segment.end += len(data)
                log.length += len(data)
                log._chain.stored_bytes += len(data)
        return log

    with instead(OutputLog, "resume", classmethod(resume)):
        yield


@contextlib.contextmanager
def unsaid_gap() -> Iterator[None]:
    """Bytes that the disk did not take are thrown away and not counted."""
    true = OutputLog.discard

    def discard(self: OutputLog, pipe_fd: int, reason: GapReason, most: int = SPLICE_BYTES) -> int:
        if reason == "disk":
            return self.disk.discard(pipe_fd, most)
        return true(self, pipe_fd, reason, most)

    with instead(OutputLog, "discard", discard):
        yield


@contextlib.contextmanager
def request_race() -> Iterator[None]:
    """The job of a request id is not found before it runs: two starts at once make two."""
    true = Manager.find_request

    def find_request(self: Manager, owner: str, request_id: str) -> Job | None:
        job = true(self, owner, request_id)
        return job if job is not None and job.begun.is_set() else None

    with instead(Manager, "find_request", find_request):
        yield


@contextlib.contextmanager
def foreign_job() -> Iterator[None]:
    """A job is found by its handle, whoever asks."""
    true = History.get

    def get(self: History, handle: str, *, owner: str | None = None) -> Job:
        return true(self, handle)

    with instead(History, "get", get):
        yield


@dataclass(frozen=True, slots=True)
class Canary:
    """``programs`` of ``seed`` are searched; ``says`` is a part of what the invariant says."""

    plant: Plant
    says: str
    seed: int = 1
    programs: int = 300

    @property
    def name(self) -> str:
        """Of its function."""
        return self.plant.__name__


PLACES: Final = (
    AskedCall,
    ChangeReader,
    ChangeTable,
    History,
    Job,
    JobInput,
    JobRunner,
    JobFilter,
    JobsByOwner,
    JobWalk,
    Manager,
    OutputLog,
    OutputReader,
    StartRecorder,
    StopAsked,
    StopNotes,
    Store,
)
"""What plants change."""

# Seeds are such that it is soon. With others it takes some 20 to 100 programs, and so 300 bound
# it; but 150 to 300 for a wake-up in one tick or a crash between two effects, and so 1000 or more.
CANARIES: Final = (
    Canary(lost_wakeup, "s late", seed=8, programs=1000),
    Canary(late_subscription, "OutputBroken", seed=39, programs=1000),
    Canary(early_stop, "without its end record", seed=11),
    Canary(early_end, "an end record, and", seed=11),
    Canary(second_end, "second end record", seed=21, programs=1500),
    Canary(leaked_reader, "readers that nobody has"),
    Canary(signal_after_reap, "that nobody has sent it", programs=1000),
    Canary(doubled_chunk, "bytes, log of"),
    Canary(unsaid_gap, "left its pipes, and"),
    Canary(request_race, "have begun by one"),
    Canary(foreign_job, "not its own", seed=2),
    Canary(forgotten_stop, "its stop by", seed=5),
    Canary(overlooked_chunk, "sees nothing of"),
    Canary(needless_gap, "reason='disk') is not kept"),
    Canary(early_end_of_input, "the end of its input at"),
    Canary(skipped_input, "of input that nobody has sent there"),
    Canary(unwritten_start, "without a line in the audit log"),
    Canary(unlisted, "list leaves out"),
    Canary(name_race, "unfinished jobs of"),
    Canary(forgotten_names, "unfinished jobs of", seed=15),
    Canary(any_label, "which it did not ask for"),
    Canary(foreign_call, "peek"),
    Canary(foreign_stream, "told by StreamOutput", programs=1000),
    Canary(needless_grace, "was not killed by"),
    Canary(ownerless_task, "these system tasks are left"),
    Canary(cut_grace, "and its grace was until"),
    Canary(skipped_change, "a watcher of", seed=4),
    Canary(late_change, "changes 'finished'", seed=4),
    Canary(unasked_watch, "which is no number of its own", seed=4),
)


@dataclass(frozen=True, slots=True)
class Found:
    """``broken`` is program number ``programs`` of the seed, if any was."""

    canary: Canary
    programs: int
    seconds: float
    broken: Broken | None

    def text(self) -> str:
        """One line."""
        name = f"{self.canary.name:20}"
        if self.broken is None:
            return f"{name} missed in {self.programs} programs, {self.seconds:.1f} s"
        wrong = next((w for w in self.broken.wrong if self.canary.says in w), self.broken.wrong[0])
        return (
            f"{name} found by {self.broken.seed} ({self.broken.schedule.kind}) "
            f"in {self.seconds:.1f} s: {wrong}"
        )


def search(canary: Canary, seed: int | str) -> Found:
    """The ordinary search, with the bug."""
    with canary.plant():
        tally = run_many(seed, programs=canary.programs)
    return Found(canary, tally.programs, tally.seconds, tally.broken)
