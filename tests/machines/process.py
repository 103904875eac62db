"""The server's process: what it has dies with it, in the middle of whatever it does.

Everything that a server does to the world is an *effect*, and a crash comes before one of them, or
between two steps of Trio. A dead process has no effect any more: its tasks unwind, and whatever
they try raises Killed.
"""

import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import trio
from fake_disk import FakeDisk, Killed
from fake_pipes import FakePipe

from penstock.jobs.backends.base import JobSpec
from penstock.jobs.change_rows import NEWEST
from penstock.jobs.end_record import EndRecord
from penstock.jobs.store import Store
from penstock.supervisor.ipc.started import Started

current: ContextVar["Process"] = ContextVar("process")


class Process:
    """One life of the server. ``faults`` is the world's: what fails next."""

    on_request: Callable[[str, str, str], None]
    """A job's id, its owner, and the request id that it is started under."""
    on_begun: Callable[[str, str, JobSpec], None]
    """A job's id, its owner, and what its start asks for."""
    on_gone: Callable[[str], None]
    """Id of a job that never was, or is removed, whether or not its record can be."""
    on_handle: Callable[[str, str], None]
    """Of all lives: a job's id and the handle that it was given."""
    on_stop: Callable[[str, dict[str, Any]], None]
    """A job's id and what is durable of its stop."""
    on_heard: Callable[[str], None]
    """Id of a job that somebody may stop now, as it was decided."""
    on_end: Callable[[str, str], None]
    """A job's id and the text of its end record."""
    on_changes: Callable[[list[tuple[Any, ...]]], None]
    """Rows of the table of changes that are durable now: sequence, owner, job, handle, what."""

    kill_pid: Callable[[int, int], int]
    """kill(2), which the product leaves to its supervisor. Of all lives."""

    def __init__(self, number: int, faults: "Faults") -> None:
        self.number = number
        self.faults = faults
        self.alive = True
        self.effects = 0
        self.crash_at: int | None = None
        """Before this effect."""
        self.scope = trio.CancelScope()
        self.dead = trio.Event()
        self.on_death: list[Callable[[], None]] = []

    def check(self) -> None:
        """Raises Killed in a process that is dead."""
        if not self.alive:
            raise Killed

    def effect(self) -> None:
        """Something is about to change in the world. Raises Killed."""
        self.check()
        self.effects += 1
        if self.crash_at is not None and self.effects > self.crash_at:
            self.die()
            raise Killed

    def die(self) -> None:
        """SIGKILL, or the end of an orderly life: the kernel closes what was open."""
        if self.alive:
            self.alive = False
            for happens in self.on_death:
                happens()
            self.scope.cancel()
            self.dead.set()


class Faults:
    """What fails next: counts of operations."""

    def __init__(self) -> None:
        self.records = 0
        self.audits = 0
        self.lines_of_jobs = 0
        """Of the audit log, decisions left out."""
        self.bugs = 0
        self.no_records: list[tuple[float, float]] = []
        """From when to when the records' disk takes nothing."""

    def takes_records(self) -> bool:
        """Now."""
        now = trio.current_time()
        return not any(begin <= now < end for begin, end in self.no_records)

    def clear(self) -> None:
        """Everything works from now on."""
        self.records = self.audits = self.bugs = self.lines_of_jobs = 0
        now = trio.current_time()
        self.no_records = [(begin, min(end, now)) for begin, end in self.no_records]


class JobPipe(FakePipe):
    """A job's stdout or stderr: ``note`` is told what has left it."""

    note: Callable[[bytes, bool], None]


class SimDisk(FakeDisk):
    """The machine's: files outlive processes. What leaves a pipe is noted by its job."""

    discarding = False

    def left_pipe(self, pipe_fd: int, data: bytes) -> None:
        pipe = self.pipes[pipe_fd]
        if data and isinstance(pipe, JobPipe):
            pipe.note(data, self.discarding)

    def discard(self, pipe_fd: int, count: int) -> int:
        self.discarding = True
        try:
            return super().discard(pipe_fd, count)
        finally:
            self.discarding = False

    def share(self, pipe: FakePipe, *, write: bool = False) -> int:
        """Another descriptor of an end."""
        if write:
            pipe.writers += 1
        else:
            pipe.readers += 1
        return self.add_end(pipe, write=write)

    def die(self) -> None:
        super().die()
        for fd in [fd for fd, pipe in self.pipes.items() if fd > 2000]:
            self.close_pipe(fd)

    def works_again(self) -> None:
        """Whatever was wrong with it."""
        self.capacity_bytes = 1 << 40
        self.faults = deque()
        self.short = False


_CHANGES = (
    "make_directory", "open", "close", "write", "splice", "discard", "unlink", "remove_tree",
    "fill", "forward", "close_pipe",
)  # fmt: skip
_LOOKS = ("names", "size", "free_bytes", "allocate", "trim", "read", "waiting", "capacity")


class ProcessDisk:
    """The disk as one process sees it; the protocol Disk."""

    def __init__(self, disk: SimDisk, process: Process) -> None:
        self._disk = disk
        self._process = process
        for names, before in ((_CHANGES, process.effect), (_LOOKS, process.check)):
            for name in names:
                setattr(self, name, _guarded(before, getattr(disk, name)))

    async def wait_readable(self, pipe_fd: int) -> None:
        await self._wait(self._disk.wait_readable, pipe_fd)

    async def wait_writable(self, pipe_fd: int) -> None:
        await self._wait(self._disk.wait_writable, pipe_fd)

    async def _wait(self, wait: Callable[[int], Any], pipe_fd: int) -> None:
        self._process.check()
        try:
            await wait(pipe_fd)
        except trio.ClosedResourceError:
            self._process.check()
            raise
        self._process.check()


def _guarded(before: Callable[[], None], what: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **more: Any) -> Any:
        before()
        return what(*args, **more)

    return call


class SimStore(Store):
    """The real store, of a process that may die before a transaction or before its commit, on a
    disk that may be full."""

    def __init__(self, path: str, *, keep_reserve: bool = False) -> None:
        self._process = current.get()
        self._shown = 0
        super().__init__(path)  # without a reserve: whether its disk is full is the program's word
        # As the kernel does, in the middle of a transaction too: the next life opens it.
        self._process.on_death.append(self.close)
        (self._shown,) = self._db.execute(NEWEST).fetchone()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        process = self._process
        process.effect()
        if process.faults.records or not process.faults.takes_records():
            process.faults.records = max(0, process.faults.records - 1)
            raise sqlite3.OperationalError("database or disk is full")
        try:
            with super()._transaction() as db:
                yield db
                process.effect()
        except sqlite3.ProgrammingError:  # closed, as it died
            process.check()
            raise
        self._show_changes()

    def _show_changes(self) -> None:
        rows = self._db.execute(
            "SELECT sequence, owner, job, handle, what FROM changes WHERE sequence > ?"
            " ORDER BY sequence",
            (self._shown,),
        ).fetchall()
        if rows:
            self._shown = rows[-1][0]
            Process.on_changes(rows)

    def find_request(self, owner: str, request_id: str) -> str | None:
        self._process.check()
        return super().find_request(owner, request_id)

    def insert_starting(
        self,
        job_id: str,
        owner: str,
        spec: JobSpec,
        policy: str,
        created_ns: int,
        request_id: str | None,
    ) -> int:
        place = super().insert_starting(job_id, owner, spec, policy, created_ns, request_id)
        Process.on_begun(job_id, owner, spec)
        if request_id is not None:
            Process.on_request(job_id, owner, request_id)
        return place

    def delete(self, job_id: str) -> None:
        self._process.check()
        Process.on_gone(job_id)
        super().delete(job_id)

    def set_running(self, job_id: str, started: Started, boot_id: str) -> str:
        handle = super().set_running(job_id, started, boot_id)
        Process.on_handle(job_id, handle)
        return handle

    def set_stopping(self, job_id: str, notes: dict[str, Any]) -> None:
        super().set_stopping(job_id, notes)
        Process.on_stop(job_id, notes)

    def set_finished(self, job_id: str, end: EndRecord) -> None:
        super().set_finished(job_id, end)
        Process.on_end(job_id, end.to_json())
