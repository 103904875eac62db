"""One job as others see it: what it is, how it goes, and how it is asked to end."""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import trio

from ..concurrency.interrupts import uninterrupted, uninterrupted_methods
from ..concurrency.plain_errors import PlainErrors
from ..supervisor.ipc.from_supervisor import Changed, Left
from ..supervisor.ipc.started import NOT_STARTED, Started
from . import job_errors, usage
from .backends.base import Backend, JobSpec
from .end_record import EndRecord
from .input import JobInput
from .job_rows import JobRecord
from .limit_checks import LimitAsking
from .output.cursor import BOTH
from .output.output_log import OutputLog
from .output.output_quota import OutputBound
from .output.reader import OutputReader
from .output.segment import StreamNumber
from .states import Event, State, after
from .stop_notes import StopAsked

# After KILL a process can only survive in an uninterruptible sleep; then it is said.
UNKILLABLE_S: Final = 10.0
# For so long the record of an end is waited for without a word.
RECORD_PATIENCE_S: Final = 10.0


@uninterrupted_methods
class Job:
    """A job, running or finished. Made by Manager only."""

    # More than 30 attributes have no dictionary in common any more: 1.5 KiB for each idle job.
    __slots__ = (
        "_log_or_loader",
        "backend",
        "begun",
        "bound",
        "end",
        "ended_at",
        "final_usage",
        "finished",
        "handle",
        "id",
        "input",
        "limit_asking",
        "on_stop",
        "owner",
        "pause_asked",
        "policy_hash",
        "sampler",
        "sequence",
        "spec",
        "start_error",
        "started",
        "state",
        "stop_asked",
        "survivors",
        "unkillable",
        "unrecorded",
    )

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
        self.started = NOT_STARTED
        """What its start became."""
        self.state = State.STARTING
        self.end: EndRecord | None = None
        self.ended_at = 0.0
        """On Trio's clock; the system's may step."""
        self.bound = bound
        # What the job's own task (lifecycle.py) tells.
        self.sampler: usage.Sampler | None = None
        self.final_usage: usage.Usage | None = None
        self.begun = trio.Event()
        """It runs, or its start has failed with ``start_error``."""
        self.start_error: job_errors.JobError | None = None
        self.finished = trio.Event()
        """``end`` is there, or the manager has given it up."""
        self.unkillable = trio.Event()
        self.unrecorded = trio.Event()
        """All are dead, and their end could not be recorded for RECORD_PATIENCE_S."""
        self.survivors: Sequence[Left] = ()
        self.input: JobInput | None = None
        """None: it was started without."""
        self.backend: Backend | None = None
        """While it runs."""
        # What it is told.
        self.pause_asked = False
        """Some of it may stand still."""
        self.stop_asked: StopAsked | None = None
        self.on_stop: Callable[[], None] | None = None
        self.limit_asking: LimitAsking | None = None
        """Once anybody has asked."""
        self._log_or_loader = log

    @classmethod
    def from_record(
        cls, record: JobRecord, log: OutputLog | Callable[[], OutputLog], bound: OutputBound
    ) -> "Job":
        """A job of an earlier life, as the store has it. Raises what is in job_rows.DAMAGE."""
        job = cls(record.id, record.sequence, record.owner, record.spec, record.policy, log, bound)
        if record.started is not None:
            job.handle = record.handle or ""
            job.started = record.started
        if record.end is not None:
            job.set_ended(record.end)
        return job

    # What becomes of it, as its own task (lifecycle.py), its stop (stop.py) and the history say.

    def advance(self, event: Event) -> None:
        """To the state after that."""
        self.state = after(self.state, event)

    def has_started(self, started: Started) -> None:
        """Its process runs; nobody can name it yet."""
        self.started = started
        self.sampler = usage.Sampler(started.usage_files, started.started_ns)

    def has_handle(self, handle: str) -> None:
        """That is recorded, so it can be named."""
        self.handle = handle
        self.advance(Event.STARTED)

    def take_over(self, stop_asked: StopAsked | None) -> None:
        """It runs on from an earlier life, in which somebody may have asked for its end."""
        self.advance(Event.STARTED)
        self.stop_asked = stop_asked

    def runs_on(self, backend: Backend, on_stop: Callable[[], None]) -> None:
        """From now on it can be asked for something; ``on_stop`` is called for ``stop_asked``."""
        self.backend = backend
        self.on_stop = on_stop
        self.begun.set()

    def runs_no_more(self) -> None:
        """There is nobody who could be asked."""
        self.backend = None

    def begins_paused(self, paused: bool) -> None:
        """As an earlier server has left it."""
        self.pause_asked = paused

    def takes_input(self, given: JobInput) -> None:
        """From now on."""
        self.input = given

    def limits_changed(self, changed: Changed) -> None:
        """Somebody else has written them; ``started`` says what is held now."""
        self.started = replace(self.started, held=changed.held)

    def could_not_start(self, error: job_errors.JobError, end: EndRecord | None = None) -> None:
        """Nothing of it is left."""
        self.start_error = error
        self.end = end
        self.log.finish()
        self.begun.set()
        self.finished.set()

    def has_survivors(self, survivors: Sequence[Left]) -> None:
        """They were sent KILL UNKILLABLE_S ago."""
        self.survivors = survivors
        self.unkillable.set()

    def is_unrecorded(self) -> None:
        """All are dead, and their end cannot be recorded now."""
        self.unrecorded.set()

    def has_ended(self, end: EndRecord, counters: Mapping[str, Any]) -> None:
        """Its end is durable."""
        self.advance(Event.RECORDED)
        self.end = end
        self.ended_at = trio.current_time()
        self.final_usage = usage.final(counters, end.ended_ns)
        self.log.finish()
        self.finished.set()

    def is_given_up(self) -> None:
        """Whoever reads or waits ends, without an end record: the server does."""
        if self.end is not None or self.finished.is_set():
            return
        if not self.log.ended:
            self.log.finish()
        if not self.begun.is_set():
            self.start_error = job_errors.Unavailable("the server has ended; ask the next one")
            self.begun.set()
        self.finished.set()

    def set_ended(self, end: EndRecord) -> None:
        """Recovery: what became of the job is known now."""
        self.end = end
        self.state = State.FINISHED
        counters = {
            "cpu_total_s": end.cpu_total_s,
            "throttled_s": end.throttled_s,
            "memory_peak_bytes": end.memory_peak_bytes,
            "read_bytes": end.read_bytes,
            "write_bytes": end.write_bytes,
            "oom_kills": end.oom_kills,
        }
        self.final_usage = usage.final(counters, end.ended_ns)
        if self.spec.stdin:
            self.input = JobInput.of_ended(self.handle, end.input_bytes, ended=end.input_ended)
        self.begun.set()
        self.finished.set()

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
        if self.final_usage is not None:
            return self.final_usage
        return self.sampler.sample() if self.sampler is not None else usage.Usage()

    async def look_at_limits(self) -> bool:
        """Returns when the kernel's limits were looked at again: ``started.held`` says what
        was found. False, and no checkpoint, where there is nothing to look at, as the job does not
        run or nothing holds its limits; False also if it could not be done within a second.

        Cancellation: minimum cleanup; C18b.
        """
        if self.backend is None or self.end is not None or not self.backend.holds_limits():
            return False
        if self.limit_asking is None:
            self.limit_asking = LimitAsking()
        return await self.limit_asking.look(self.backend, self.id)

    def read_output(
        self,
        offset: int = 0,
        follow: bool = True,
        streams: Collection[StreamNumber] = BOTH,
    ) -> OutputReader:
        """A reader of its own, the caller's to close. No checkpoint.

        What is not there any more comes as gaps. For lines and times see seek.py. Raises
        OffsetPastEnd, and Unavailable if the log cannot be looked at now.
        """
        try:
            log = self.log
        except OSError as error:
            raise job_errors.Unavailable("the server has no free descriptors; try again") from error
        return OutputReader(log, offset, follow, streams)

    async def wait_begun(self) -> None:
        """Returns when the job runs. Raises what its start failed with.

        Cancellation: minimum cleanup; C4.
        """
        await self.begun.wait()
        if self.start_error is not None:
            raise self.start_error

    async def wait_finished(self) -> EndRecord:
        """The end record, once it is durable. Minimum cleanup: the waiting alone ends.

        Raises Unavailable if the manager was closed before the job has ended, and NotRecorded if
        it has, and its end could not be recorded for RECORD_PATIENCE_S: a full disk. It is tried
        on, so that whoever waits again gets it.

        Cancellation: minimum cleanup; C8, C23.
        """
        await self._wait_any(self.finished, self.unrecorded)
        return self._known_end()

    async def _wait_any(self, *events: trio.Event) -> None:
        with PlainErrors().outside():  # ^C of who waits
            # Scope S3.news.
            async with trio.open_nursery() as nursery:

                @uninterrupted
                async def told(event: trio.Event) -> None:
                    await event.wait()
                    # Cancels S3.news.
                    nursery.cancel_scope.cancel()

                for event in events:
                    nursery.start_soon(told, event)

    def _known_end(self) -> EndRecord:
        if self.end is None and not self.finished.is_set():
            raise job_errors.NotRecorded(
                f"job {self.handle} has ended, and nothing of it runs, but that cannot be recorded "
                "now; it is tried again and again, and the server's log says why. Ask again"
            )
        if self.end is None:
            raise job_errors.Unavailable(f"the server has ended before job {self.handle} did")
        return self.end

    @property
    def paused(self) -> bool:
        """Its processes stand still."""
        return self.backend is not None and self.backend.is_paused(self.id)

    def all_dead(self) -> None:
        """Nobody is left who could survive anything; what remains is the end record."""
        self.unkillable = trio.Event()

    async def _wait_taken_over(self) -> None:
        """No checkpoint in the usual case: what its caller was allowed, and has on record, is
        done though the caller leaves in the same moment."""
        if not self.begun.is_set():
            await self.begun.wait()

    async def signal(self, number: int, *, tree: bool = False) -> int:
        """Signals the main process, or every process; how many it was sent to.

        Raises Precondition NOT_RUNNING if nobody is left to get it. Completes: cancelled, the
        signal is on its way. Of a job that has begun it is asked for before any checkpoint;
        waiting for the answer, or being told that there is no job, is one.

        Cancellation: completes; C18.
        """
        await self._wait_taken_over()
        if self.backend is None:
            await trio.lowlevel.checkpoint()
            count = 0
        else:
            count = await self.backend.signal(self.id, number, tree=tree)
        if count == 0:
            raise job_errors.Precondition("NOT_RUNNING", f"job {self.handle} has ended")
        return count

    async def set_paused(self, paused: bool) -> None:
        """Makes every process stand still, or run on; returns when that is so.

        It may be so already. A stop lets them run on to heed it. Raises Precondition
        NOT_RUNNING, or NOT_PAUSED if they cannot stand still. Completes: cancelled, it happens
        without the caller.

        Cancellation: completes; C18.
        """
        await self._wait_taken_over()
        if self.backend is None or self.state is not State.RUNNING:
            stopping = self.state is State.STOPPING
            why = "is being stopped" if stopping else "has ended"
            raise job_errors.Precondition("NOT_RUNNING", f"job {self.handle} {why}")
        self.pause_asked = self.pause_asked or paused
        why = await self.backend.set_paused(self.id, paused)
        if why:
            what = "paused" if paused else "resumed"
            raise job_errors.Precondition("NOT_PAUSED", f"job {self.handle} is not {what}: {why}")

    def ask_stop(
        self,
        *,
        by: str,
        reason: str = "",
        grace_s: float | None = None,
        number: int | None = None,
    ) -> None:
        """As ``stop``, without waiting for it. No checkpoint.

        Raises Unavailable if it is under way but not recorded: this server's end would end it.
        """
        if self.end is not None:
            return
        if self.stop_asked is not None:
            if grace_s is not None:
                self.stop_asked.add(grace_s)
        elif self.state is not State.ENDING:
            self.stop_asked = StopAsked(by, reason, grace_s, number)
        # A job whose main process has ended by itself was not stopped: its end is waited for.
        if self.stop_asked is None:
            return
        if self.on_stop is not None:
            self.on_stop()
        if not self.stop_asked.recorded and self.state is State.STOPPING:
            raise job_errors.Unavailable(
                f"the stop of job {self.handle} is under way, but cannot be recorded now; the "
                "server's log says why"
            )

    async def stop(
        self,
        *,
        by: str,
        reason: str = "",
        grace_s: float | None = None,
        number: int | None = None,
    ) -> tuple[EndRecord, bool]:
        """Ends the whole tree: a first signal, grace, KILL to all.

        The first signal is ``number`` or else the command's own, to the main process or to all
        as the command has it. Returns the end record and whether the job had finished before. A
        stop that is under way is joined, and its grace holds unless ``grace_s`` would end it
        sooner. Completes: cancelled, it goes on without the caller.
        Raises Precondition UNKILLABLE if processes survive KILL for 10 s; the stop goes on.
        Raises SupervisorSilent if nobody can say what becomes of it; the stop goes on, KILL
        after its grace included. Raises Unavailable and NotRecorded as wait_finished.

        Cancellation: completes; C5, C6, C7, C23, C26, C41.
        """
        if self.end is not None:
            await trio.lowlevel.checkpoint()
            return self.end, True
        with contextlib.suppress(job_errors.Unavailable):  # it is waited for
            self.ask_stop(by=by, reason=reason, grace_s=grace_s, number=number)
        backend, silent = self.backend, False
        while True:
            # Made anew each time: who was unkillable may have died, and then that is unset.
            told = partial(self._wait_any, self.finished, self.unrecorded, self.unkillable)
            if backend is None:
                await told()
            else:
                silent = not await backend.answered(told)
            if self.finished.is_set() or self.unrecorded.is_set():
                return self._known_end(), False
            if silent:
                raise job_errors.SupervisorSilent(
                    f"the supervisor does not answer; the stop of job {self.handle} goes on, with "
                    "KILL after its grace: ask again"
                )
            if self.unkillable.is_set() and self.end is None:  # else they have died meanwhile
                left = ", ".join(str(each) for each in self.survivors) or "unknown ones"
                raise job_errors.Precondition(
                    "UNKILLABLE",
                    f"processes of job {self.handle} have survived KILL for {UNKILLABLE_S:g} s, "
                    f"and the job ends when they wake: {left}",
                    processes=left,
                )
