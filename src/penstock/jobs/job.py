"""One job: its life in one task, its stop, and what others see of it."""

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import trio

from ..supervisor.limits import Enforcement, Limits
from . import errors, usage
from .backend import Backend, JobSpec, Refused, Started, Verdict
from .bounds import Budget, Intake, MustStop, OutputBound
from .capture import Bandwidth, capture, close_pipe, drain
from .cursors import BOTH
from .ending import Ending, end_record, start_error
from .output import OutputLog
from .readers import OutputReader
from .records import EndRecord
from .segments import StreamNumber
from .states import Event, State, after
from .store import JobRecord, Store

# After KILL a process can only survive in an uninterruptible sleep; then it is said.
UNKILLABLE_S: Final = 10.0
RECORD_AGAIN_S: Final = 1.0

Audit = Callable[[str, Mapping[str, Any]], None]


class Job:
    """A job, running or finished. Made by Manager only."""

    def __init__(
        self,
        job_id: str,
        sequence: int,
        owner: str,
        spec: JobSpec,
        policy_hash: str,
        log: OutputLog | Callable[[], OutputLog],
        bound: OutputBound,
    ) -> None:
        """``log`` may be how to have it once somebody wants it."""
        self.id = job_id
        self.sequence = sequence
        self.owner = owner
        self.spec = spec
        self.policy_hash = policy_hash
        self.handle = ""
        self.pid = 0
        self.argv: tuple[str, ...] = ()
        self.class_name = ""
        self.limits = Limits()
        self.enforcement: tuple[Enforcement, ...] = ()
        self.started_ns = 0
        self.state = State.STARTING
        self.end: EndRecord | None = None
        self.ended_at = 0.0
        """On Trio's clock; the system's may step."""
        self.bound = bound
        self._log_or_loader = log
        self._sampler: usage.Sampler | None = None
        self._final_usage: usage.Usage | None = None
        self._grace_s = 10.0
        self._begun = trio.Event()  # running, or the start has failed
        self._finished = trio.Event()
        self._unkillable = trio.Event()
        self._start_error: errors.JobError | None = None
        self._stopped_by: str | None = None
        self._stop_reason = ""
        self._asked_grace_s: float | None = None
        self._escalated = False
        self._output_error: OSError | None = None
        self._output_full = False
        self._nursery: trio.Nursery | None = None
        self._backend: Backend
        self._scope = trio.CancelScope(shield=True)
        self._grace_scope = trio.CancelScope()

    @classmethod
    def from_record(
        cls, record: JobRecord, log: OutputLog | Callable[[], OutputLog], bound: OutputBound
    ) -> "Job":
        """A job of an earlier life, as the store has it. Raises what is in store.DAMAGE."""
        job = cls(record.id, record.sequence, record.owner, record.spec, record.policy, log, bound)
        if record.started is not None:
            job.handle = record.handle or ""
            job.pid = record.started["pid"]
            job.started_ns = record.started["started_ns"]
            job.argv = tuple(record.started["argv"])
            job.class_name = record.started["class_name"]
            job.limits = Limits(**record.started["limits"])
            job.enforcement = tuple(Enforcement(**entry) for entry in record.started["enforcement"])
        if record.end is not None:
            job.set_ended(record.end)
        return job

    def set_ended(self, end: EndRecord) -> None:
        """Recovery: what became of the job is known now."""
        self.end = end
        self.state = State.FINISHED
        counters = {
            "cpu_total_s": end.cpu_total_s,
            "memory_peak_bytes": end.memory_peak_bytes,
            "read_bytes": end.read_bytes,
            "write_bytes": end.write_bytes,
            "oom_kills": end.oom_kills,
        }
        self._final_usage = usage.final(counters, end.ended_ns)
        self._begun.set()
        self._finished.set()

    @property
    def log(self) -> OutputLog:
        """Its output."""
        if not isinstance(self._log_or_loader, OutputLog):
            self._log_or_loader = self._log_or_loader()
        return self._log_or_loader

    @property
    def log_if_loaded(self) -> OutputLog | None:
        """The same, unless nobody has asked for it since the server started."""
        return self._log_or_loader if isinstance(self._log_or_loader, OutputLog) else None

    @property
    def output_length(self) -> int:
        """Bytes of output so far, kept or not."""
        return self.end.output_bytes if self.end is not None else self.log.length

    @property
    def output_first(self) -> int:
        """Offset of the first byte that can still be had."""
        if self.end is not None and self.log_if_loaded is None:
            return self.end.sha256_from
        return self.log.first

    def usage(self) -> usage.Usage:
        """A sample now; the final counters of a finished job. No checkpoint."""
        if self._final_usage is not None:
            return self._final_usage
        return self._sampler.sample() if self._sampler is not None else usage.Usage()

    def read_output(
        self,
        offset: int = 0,
        follow: bool = True,
        streams: Collection[StreamNumber] = BOTH,
    ) -> OutputReader:
        """A reader of its own, the caller's to close. No checkpoint. Raises OffsetPastEnd.

        What is not there any more comes as gaps. For lines and times see seeking.py.
        """
        return OutputReader(self.log, offset, follow, streams)

    async def wait_begun(self) -> None:
        """Returns when the job runs. Raises what its start failed with. Minimum cleanup."""
        await self._begun.wait()
        if self._start_error is not None:
            raise self._start_error

    async def wait_finished(self) -> EndRecord:
        """The end record, once it is durable. Minimum cleanup: the waiting alone ends.

        Raises Unavailable if the manager was closed before the job has ended.
        """
        await self._finished.wait()
        if self.end is None:
            raise errors.Unavailable(f"the server has ended before job {self.handle} did")
        return self.end

    async def stop(
        self, *, by: str, reason: str = "", grace_s: float | None = None
    ) -> tuple[EndRecord, bool]:
        """Ends the whole tree: TERM to the main process, grace, KILL to all.

        Returns the end record and whether the job had finished before. A stop that is
        under way is joined, and its grace holds unless ``grace_s`` would end it sooner.
        Completes: cancelled, it goes on without the caller.
        Raises Precondition UNKILLABLE if processes survive KILL for 10 s; the stop goes on.
        """
        if self.end is not None:
            await trio.lowlevel.checkpoint()
            return self.end, True
        # A job whose main process has ended by itself was not stopped: its end is waited for.
        if self._stopped_by is None and self.state is not State.ENDING:
            self._stopped_by, self._stop_reason, self._asked_grace_s = by, reason, grace_s
            if self._nursery is not None and self.state is State.RUNNING:
                self._begin_stop()
        elif grace_s is not None:
            self._shorten_grace(grace_s)
        async with trio.open_nursery() as nursery:

            async def end_of_patience() -> None:
                await self._unkillable.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(end_of_patience)
            await self._finished.wait()
            nursery.cancel_scope.cancel()
        if self.end is None:
            raise errors.Precondition(
                "UNKILLABLE",
                f"processes of job {self.handle} have survived KILL for {UNKILLABLE_S:g} s; "
                "they are in an uninterruptible sleep, and the job ends when they wake",
            )
        return self.end, False

    def _begin_stop(self) -> None:
        assert self._nursery is not None
        self.state = after(self.state, Event.STOP_ASKED)
        self._shorten_grace(self._grace_s if self._asked_grace_s is None else self._asked_grace_s)
        self._nursery.start_soon(self._stop)

    def _shorten_grace(self, grace_s: float) -> None:
        if self.state is State.STARTING:  # the grace begins when there is a process
            asked = self._grace_s if self._asked_grace_s is None else self._asked_grace_s
            self._asked_grace_s = min(asked, grace_s)
            return
        deadline = trio.current_time() + grace_s
        self._grace_scope.deadline = min(self._grace_scope.deadline, deadline)

    # S5. Everything below runs in the job's own task.

    async def run(
        self,
        backend: Backend,
        store: Store,
        audit: Audit,
        budget: Budget,
        on_running: Callable[["Job"], None],
    ) -> None:
        """The job's whole life; ``on_running`` is called once it has a handle.

        ``budget`` is what its output shares with others.

        Shielded: it ends by the end of its processes, which stop (grace, KILL) or the loss
        of the backend bring about; end_now is the last resort.
        """
        with self._scope:
            result = await backend.start(self.id, self.spec, self.owner)
            if isinstance(result, Refused):
                self._refused(result, audit)
                return
            intake = Intake(self.log, self.bound, budget)
            await self._live(result, backend, store, audit, intake, on_running)

    def end_now(self) -> None:
        """Gives up waiting, at the very end of the manager. No checkpoint.

        Whoever reads or waits ends too, without an end record.
        """
        self._scope.cancel()
        if self.end is None and not self._finished.is_set():
            if not self.log.ended:
                self.log.finish()
            self._finished.set()

    def _refused(self, refused: Refused, audit: Audit) -> None:
        self.state = after(self.state, Event.REFUSED)
        self._start_error = start_error(refused)
        self.end = EndRecord("failed_to_start", time.time_ns(), detail=refused.message)
        self.log.finish()
        self._begun.set()
        self._finished.set()
        try_audit(
            audit, "job.refused", {"job": self.id, "owner": self.owner, "message": refused.message}
        )

    def _begin(self, started: Started, backend: Backend, store: Store) -> None:
        self.pid = started.pid
        self.started_ns = started.started_ns
        self.argv = started.argv
        self.class_name = started.class_name
        self.limits = started.limits
        self.enforcement = started.enforcement
        self._grace_s = started.grace_s
        self._sampler = usage.Sampler(started.usage_files, started.started_ns)
        boot_id = str(backend.capabilities().get("boot_id", ""))
        self.handle = store.set_running(self.id, started, boot_id)
        self.state = after(self.state, Event.STARTED)

    async def _live(
        self,
        started: Started,
        backend: Backend,
        store: Store,
        audit: Audit,
        intake: Intake,
        on_running: Callable[["Job"], None],
    ) -> None:
        pipes: list[tuple[int, StreamNumber]] = [(started.stdout_fd, 1)]
        if started.stderr_fd is not None:
            pipes.append((started.stderr_fd, 2))
        try:
            try:
                self._begin(started, backend, store)
            except sqlite3.Error as error:
                await self._give_up(backend, error)
                return
            on_running(self)
            try_audit(audit, "job.running", self._about())
            bandwidth = Bandwidth(started.limits.output_bytes_per_s)
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._backend = backend
                self._begun.set()
                if self._stopped_by is not None:  # asked for while it started
                    self._begin_stop()
                for fd, stream in pipes:
                    nursery.start_soon(capture, intake, fd, stream, bandwidth, self._must_stop)
                nursery.start_soon(self._watch_main)
                verdict = await backend.wait(self.id)
                self._nursery = None
                nursery.cancel_scope.cancel()
            if self.state in (State.RUNNING, State.STOPPING):
                # Before the next checkpoint: a stop that comes now has not ended this job.
                self.state = after(self.state, Event.MAIN_EXITED)
            for fd, stream in pipes:
                drain(intake, fd, stream)
        finally:
            self._nursery = None
            for fd, _ in pipes:
                close_pipe(fd)
        await self._finish(verdict, store, audit)
        backend.release(self.id)

    async def _give_up(self, backend: Backend, error: Exception) -> None:
        """It runs but cannot be recorded, so nobody could ever name it: it must not be."""
        await backend.kill(self.id)
        await backend.wait(self.id)
        backend.release(self.id)
        self.log.finish()
        say(f"job {self.id} of {self.owner} is not started: {error}")
        self._start_error = errors.Unavailable(
            "jobs cannot be recorded now; the server's log says why"
        )
        self._begun.set()

    async def _watch_main(self) -> None:
        await self._backend.wait_main_exited(self.id)
        self.state = after(self.state, Event.MAIN_EXITED)
        await self._lose_patience()

    async def _lose_patience(self) -> None:
        """All that is left has been killed; the job's nursery ends this when it is gone."""
        await trio.sleep(UNKILLABLE_S)
        self._unkillable.set()

    async def _stop(self) -> None:
        """S6: ends by grace and KILL; the job's own nursery ends it once all are dead."""
        await self._backend.signal(self.id, signal.SIGTERM)
        with self._grace_scope:
            await self._backend.wait_main_exited(self.id)
            return  # what is left is killed by the backend, which tells when it is gone
        self._escalated = True
        await self._backend.kill(self.id)
        await self._lose_patience()

    def _must_stop(self, reason: MustStop) -> None:
        """Its output cannot be kept, and its policy prefers its end to a gap."""
        self._output_error, self._output_full = reason.error, reason.error is None
        if self._nursery is not None and self.state is State.RUNNING:
            self._begin_stop()

    async def _finish(self, verdict: Verdict, store: Store, audit: Audit) -> None:
        # All bytes are in the log. Hashing a GiB takes seconds, hence the thread; it reads a
        # file nobody appends to any more, and is let go if end_now comes.
        sha256 = ""
        try:
            digest = self.log.digest()
            sha256 = await trio.to_thread.run_sync(digest.sha256, abandon_on_cancel=True)
        except OSError as error:  # a bad sector under one log is one job's misfortune
            self._output_error = self._output_error or error
        end = end_record(verdict, self._ending(), self.log, sha256)
        while True:
            try:
                store.set_finished(self.id, end)
                break
            except sqlite3.Error as error:
                # A full disk, most likely. The job stays `ending` until its end is durable.
                say(f"the end of job {self.handle}: {error}")
                await trio.sleep(RECORD_AGAIN_S)
        self.state = after(self.state, Event.RECORDED)
        self.end = end
        self.ended_at = trio.current_time()
        self._final_usage = usage.final(verdict.counters, end.ended_ns)
        self.log.finish()
        self._finished.set()
        try_audit(audit, "job.finished", self._about() | {"reason": end.reason, "sha256": sha256})

    def _ending(self) -> Ending:
        return Ending(
            self._stopped_by,
            self._stop_reason,
            self._escalated,
            self._output_error,
            self._output_full,
        )

    def _about(self) -> dict[str, Any]:
        return {"job": self.id, "handle": self.handle, "owner": self.owner, "argv": self.argv}


def try_audit(audit: Audit, event: str, fields: Mapping[str, Any]) -> None:
    """What has happened cannot be refused any more; a full audit disk must not end the server."""
    try:
        audit(event, fields)
    except Exception as error:  # the callback is anybody's
        say(f"audit of {event} failed: {error}")


def say(text: str) -> None:
    """A line on standard error, if there is anybody who takes it."""
    with contextlib.suppress(OSError):
        os.write(2, f"penstock: {text}\n".encode())
