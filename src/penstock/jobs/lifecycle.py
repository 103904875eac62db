"""The task of one job: from its start to its end record (S5 and S6 of docs/cancellation.md).

Theory of operation. A job has one task, which the manager starts in its own nursery (job_tasks.py)
and which runs ``JobRunner.run`` (or ``take_over``, for a job of an earlier server). It alone moves
the job from state to state (states.py):

1. ``starting``: the backend was asked. Refused, nothing is left of the job. Started, its handle is
   recorded before any client can name it; if that fails the job is killed, because otherwise it
   would run without a name.
2. ``running``, ``stopping``: the job's nursery (S5.parts) has a reader task for each pipe, the
   input, the watch of the main process, and the stop once it was asked for.
3. ``ending``: the main process was reaped. The nursery is cancelled when the last process is dead,
   and not at the end of its pipes, because a process outside the job may hold those open for ever.
   What the reader tasks have not moved by then is drained.
4. ``finished``: the log is sealed and hashed, the end record is durable, and only then readers and
   waiting callers see the end, and the backend may forget the job (end_recorder.py).

The race that shaped it: a stop, the main process's own exit and the death of the last process come
in any order, and a server may die between any two. So a stop is only a note and an event here
(stop.py): a job whose main process has exited by itself was not stopped; the state changes between
two checkpoints; and all that a next server needs is recorded before it is promised.

The task is shielded, so no caller that leaves can end it; ``end_now`` is for the manager alone.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted_methods
from ..supervisor.ipc.from_supervisor import ReplacedFile
from ..supervisor.ipc.started import Started
from . import end_recorder, job_errors
from .backends.base import Backend, JobPipes, StartedJob, StartRefused
from .end_record import EndRecord
from .end_recorder import EndRecorder, audit_fields
from .input import JobInput
from .job import Job
from .output.capture import Bandwidth, close_pipes, drain, outputs_of, reader_task
from .output.digest_threads import Hashing
from .output.output_quota import Intake, MustStop, OutputBudget
from .output.segment_index import StreamNumber
from .reporting import Audit, say, try_audit
from .start_attempts import StartAttempts
from .states import JobEvent, JobState
from .stop import JobStop
from .stop_notes import StopNotes
from .store import Store
from .verdict import start_error

# After these the job ends without that output, because a disk that takes nothing for ten seconds
# may never take anything.
_DRAIN_TRIES: Final = 10
# Giving blocks back takes milliseconds, unless the disk stands still.
_FREE_RESERVE_S: Final = 1.0


@uninterrupted_methods
class JobRunner:
    """The code of one job's task. ``budget`` is what its output shares with others, ``hashing`` the
    threads that hash it and give its reserve back."""

    def __init__(
        self,
        job: Job,
        backend: Backend,
        starts: StartAttempts,
        store: Store,
        audit: Audit,
        budget: OutputBudget,
        hashing: Hashing,
    ) -> None:
        self._job = job
        self._backend = backend
        self._starts = starts
        self._store = store
        self._audit = audit
        self._hashing = hashing
        self._intake = Intake(job.log, job.bound, budget)
        self._stopping = JobStop(job, backend, store)
        self._recorder = EndRecorder(job, self._stopping, store, audit, hashing)
        self._stuck: OSError | None = None
        self.never_started = False
        """It was refused, or could not be recorded, so nothing of it is left."""
        self.held = False
        """The backend has a process of the job, and keeps it until ``release``."""
        # Scope S5.
        self._scope = trio.CancelScope(shield=True)

    async def run(self, on_running: Callable[[Job], None]) -> None:
        """From start to end record; ``on_running`` is called once the job has a handle.

        Shielded: it ends by the end of its processes, which the stop (grace, KILL) or the loss
        of the backend bring about; end_now is the last resort.

        Cancellation: completes; C4, C5, C8, C17, C17b, C37, C39.
        """
        with self._scope:
            job = self._job
            result = await self._starts.start(job, self._replaced)
            if isinstance(result, StartRefused):
                self._refused(result)
            else:
                self.held = True
                await self._live(result, on_running)

    async def take_over(
        self,
        begun: StartedJob,
        stop: StopNotes | None = None,
        output_error: OSError | None = None,
    ) -> None:
        """As run, for a job that an earlier server has started: it has its handle and runs.

        A ``stop`` that was under way begins again, with its grace unless that was over. With
        ``output_error`` nothing can be appended to its log, so it is stopped, and its end record
        says why.

        Cancellation: completes; C13.
        """
        self.held = True
        with self._scope:
            if stop is not None:
                self._stopping.restore(stop)
            self._stuck = output_error
            self._job.begins_paused(self._backend.is_paused(self._job.id))
            self._intake.settle()
            self._job.has_started(begun.started)
            await self._job_nursery(begun.pipes)

    async def free_reserve(self) -> None:
        """Gives the blocks that its log does not need any more back to the disk. Called last, after
        the end is visible, so that no caller waits for it.

        No checkpoint where there is nothing to give back.

        Cancellation: completes; C17b.
        """
        log = self._job.log_if_loaded
        if self._job.end is None or log is None or not log.has_reserve:
            return
        # Shielded, because the manager ends this task now if it is closing.
        # Scope S5.reserve.
        with trio.CancelScope(shield=True), trio.move_on_after(_FREE_RESERVE_S):
            await trio.to_thread.run_sync(
                log.free_reserve, abandon_on_cancel=True, limiter=self._hashing.limiter
            )

    def did_not_start(self, error: job_errors.JobError, end: EndRecord | None = None) -> None:
        """Nothing of the job is left, so callers that wait for it get ``error``. No checkpoint."""
        self.never_started = True
        self._job.could_not_start(error, end)

    def end_now(self) -> None:
        """Gives up waiting, at the very end of the manager. No checkpoint.

        Readers and waiting callers end too, without an end record. A job that still runs is left
        for the next server to take over.
        """
        # Cancels S5.
        self._scope.cancel()
        self._job.is_given_up()

    # The start.

    def _replaced(self, files: Sequence[ReplacedFile]) -> None:
        job = self._job
        about = {"job": job.id, "owner": job.owner, "command": job.spec.command}
        for each in files:
            self._audit(
                "program.replaced",
                about | {"path": each.path, "before": each.before, "now": each.now},
            )

    def _refused(self, refused: StartRefused) -> None:
        job = self._job
        job.advance(JobEvent.REFUSED)
        end = EndRecord("failed_to_start", time.time_ns(), detail=refused.message)
        self.did_not_start(start_error(refused), end)
        about = {"job": job.id, "owner": job.owner, "message": refused.message}
        try_audit(self._audit, "job.refused", about)

    def _begin(self, started: Started) -> None:
        job = self._job
        job.has_started(started)
        boot_id = str(self._backend.capabilities().get("boot_id", ""))
        job.has_handle(self._store.set_running(job.id, started, boot_id))

    async def _kill_unrecorded(self, error: Exception) -> None:
        """It runs but cannot be recorded, so no client could ever name or stop it: it is killed."""
        job = self._job
        self.never_started = True  # also if end_now comes meanwhile
        await self._backend.kill(job.id)
        await self._backend.wait(job.id)
        self._backend.release(job.id)
        say(f"job {job.id} of {job.owner} is not started: {error}")
        why = "jobs cannot be recorded now; the server's log says why"
        self.did_not_start(job_errors.Unavailable(why))

    # While it runs.

    async def _live(self, begun: StartedJob, on_running: Callable[[Job], None]) -> None:
        job = self._job
        try:
            self._begin(begun.started)
        except sqlite3.Error as error:
            close_pipes(job.log.disk, begun.pipes)
            await self._kill_unrecorded(error)
            return
        except Exception:
            close_pipes(job.log.disk, begun.pipes)
            raise
        on_running(job)
        try_audit(self._audit, "job.running", audit_fields(job) | {"uid": job.started.uid})
        await self._job_nursery(begun.pipes)

    async def _job_nursery(self, pipes: JobPipes) -> None:
        """While its processes live: the nursery of its reader tasks, its input and its stop.

        Its cancel scope (S5.parts) is cancelled when the last process is dead; only ``end_now``
        ends it before. What a reader task has not moved by then is drained before the end is
        recorded.
        """
        job = self._job
        outputs = outputs_of(pipes)
        kept = outputs if self._stuck is None else []
        if job.spec.stdin:
            end_input = partial(self._backend.close_input, job.id)
            log = job.log
            given = JobInput(pipes.input, log.directory, job.handle, end_input, log.disk)
            job.takes_input(given)
        try:
            bandwidth = Bandwidth(job.started.limits.output_bytes_per_s)
            # Scope S5.parts.
            async with trio.open_nursery() as nursery:
                job.attach(self._backend, self._stopping.asked)
                self._stopping.open(nursery)
                if self._stuck is not None:
                    self._stopping.must_stop(MustStop(self._stuck))
                for fd, stream in kept:
                    nursery.start_soon(
                        reader_task, self._intake, fd, stream, bandwidth, self._stopping.must_stop
                    )
                if job.input is not None:
                    nursery.start_soon(job.input.run)
                nursery.start_soon(self._watch_main)
                verdict = await self._backend.wait(job.id)
                self._stopping.close()
                job.all_dead()
                # Before the next checkpoint, which is the nursery's end: a stop that comes now
                # has not ended this job.
                self._main_exited()
                # Cancels S5.parts.
                nursery.cancel_scope.cancel()
            await self._drain(kept)
            job.log.notify()  # its last words do not wait for the record of its end
        finally:
            self._stopping.close()
            job.detach()
            if job.input is not None:
                job.input.close(f"job {job.handle} has ended")
            for fd, _ in outputs:
                job.log.disk.close_pipe(fd)
        await self._recorder.record(verdict)
        self._backend.release(job.id)

    async def _drain(self, kept: Sequence[tuple[int, StreamNumber]]) -> None:
        """Tries again if the disk does not even take a gap, because it may soon.

        After end_now, which has ended the log, it takes nothing, because the pipes are the next
        server's.
        """
        for _ in range(_DRAIN_TRIES):
            await trio.lowlevel.checkpoint_if_cancelled()
            if all([drain(self._intake, fd, stream) for fd, stream in kept]):
                return
            await trio.sleep(end_recorder.RECORD_AGAIN_S)
        say(f"job {self._job.handle}: its last output is neither kept nor told as a gap")

    def _main_exited(self) -> None:
        """Idempotent, because the end of all may be reported before that of the main process."""
        if self._job.state is not JobState.ENDING:
            self._job.advance(JobEvent.MAIN_EXITED)

    async def _watch_main(self) -> None:
        await self._backend.wait_main_exited(self._job.id)
        self._main_exited()
        if self._job.input is not None:
            self._job.input.close(f"job {self._job.handle} has ended")
        await self._stopping.lose_patience()  # the job's nursery ends this when all is gone
