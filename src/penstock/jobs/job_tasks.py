"""The tasks of a manager's jobs, one each: what surrounds a JobRunner, and what its bugs cost.

The manager's nursery (S4) runs ``JobTasks.run`` for a job that starts and ``take_over`` for one of
an earlier server. Both end in the same way: the history gets the end, then the disk its reserve. An
exception of a JobRunner is a bug and costs its own job alone, which is killed.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator

import trio

from ..concurrency.interrupts import uninterrupted_context, uninterrupted_methods
from .backends.base import Backend
from .history import History
from .job import UNKILLABLE_S, Job
from .job_errors import Unavailable
from .job_recovery import Recovered
from .lifecycle import JobRunner
from .output.digest_threads import Hashing
from .reporting import Audit, say
from .start_attempts import StartAttempts
from .store import Store


@uninterrupted_methods
class JobTasks:
    """Runs jobs to their ends in ``history``; ``runners`` are those under way, by the job's id."""

    def __init__(
        self,
        backend: Backend,
        starts: StartAttempts,
        store: Store,
        audit: Audit,
        history: History,
    ) -> None:
        self.runners: dict[str, JobRunner] = {}
        self._backend = backend
        self._starts = starts
        self._store = store
        self._audit = audit
        self._history = history
        self._hashing = Hashing()
        self._over = False

    async def run(self, job: Job) -> None:
        """S5: the job's own task, from its start to its end.

        Cancellation: completes; C39.
        """
        async with self._runner_of(job) as runner:
            await runner.run(self._history.running)
        if job.handle:
            self._ended(job)
        elif (
            runner.never_started
        ):  # nothing was started: no client can name it, and its request id is free again
            self._history.never_was(job.id)
        await runner.free_reserve()

    async def take_over(self, recovered: Recovered) -> None:
        """S5, of a job that an earlier server has started.

        Cancellation: completes; C13, C39.
        """
        async with self._runner_of(recovered.job) as runner:
            await runner.take_over(recovered.begun, recovered.stop, recovered.output_error)
        self._ended(recovered.job)
        await runner.free_reserve()

    def end_now(self) -> None:
        """Ends every task, and those that begin later as soon as they do. No checkpoint."""
        self._over = True
        for runner in self.runners.values():
            runner.end_now()

    def _ended(self, job: Job) -> None:
        if job.end is not None:  # otherwise its task was ended by end_now
            self._history.finished(job)

    @uninterrupted_context
    @contextlib.asynccontextmanager
    async def _runner_of(self, job: Job) -> AsyncIterator[JobRunner]:
        budget = self._history.budget_of(job.owner)
        runner = JobRunner(
            *(job, self._backend, self._starts, self._store, self._audit, budget, self._hashing)
        )
        self.runners[job.id] = runner
        if self._over:  # its task has come to run only now, after end_now
            runner.end_now()
        try:
            yield runner
        except Exception as error:
            # A bug of ours, or a system call that fails in a way not foreseen. It concerns this job
            # alone, which is killed, because otherwise it would run without a reader or a record.
            say(f"job {job.id} is given up, and killed: {error!r}")
            await self._end_broken(job, runner)
        finally:
            del self.runners[job.id]

    async def _end_broken(self, job: Job, runner: JobRunner) -> None:
        """Kills the job of a runner that has raised, and ends what waits for it."""
        if runner.held:
            # Scope S4.given_up.
            with trio.CancelScope(shield=True), trio.move_on_after(UNKILLABLE_S):  # ends by itself
                await self._backend.kill(job.id)
                await self._backend.wait(job.id)
            self._backend.release(job.id)
        if not job.handle:
            # Otherwise it would be `starting` for ever, and count against its owner's quota.
            runner.did_not_start(Unavailable("a mistake of the server's own; its log says more"))
        elif job.end is None:
            try:
                end = self._history.lost(job)
            except sqlite3.Error as error:  # the next start finds it lost
                say(f"the end of job {job.handle}: {error}")
            else:
                job.set_ended(end)
                # It is kept as long as others are, which counts from here.
                job.ended_ago(0.0)
                job.log.finish()
        runner.end_now()
        job.is_over()
