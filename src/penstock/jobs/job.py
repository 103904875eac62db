"""One job as others see it: read, waited for, signalled, paused, and asked to end."""

import contextlib
from collections.abc import Collection
from functools import partial
from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted, uninterrupted_methods
from ..concurrency.plain_errors import PlainErrors
from . import job_errors
from .end_record import EndRecord
from .job_progress import JobProgress
from .limit_requests import LimitRequests
from .output.cursor import BOTH
from .output.reader import OutputReader
from .output.segment_index import StreamNumber
from .states import JobState
from .stop_notes import StopAsked

# After KILL a process can only survive in an uninterruptible sleep; callers are told after this.
UNKILLABLE_S: Final = 10.0
# For so long callers wait for the record of an end before they get NotRecorded instead.
RECORD_PATIENCE_S: Final = 10.0


@uninterrupted_methods
class Job(JobProgress):
    """A job, running or finished: what callers can ask of it. Only the Manager makes one."""

    __slots__ = ()

    async def look_at_limits(self) -> bool:
        """Returns when the kernel's limits were looked at again: ``started.held`` says what
        was found. False, and no checkpoint, where there is nothing to look at, because the job does
        not run or nothing holds its limits; False also if it could not be done within a second.

        Cancellation: minimum cleanup; C18b.
        """
        if self.backend is None or self.end is not None or not self.backend.holds_limits():
            return False
        if self.limit_requests is None:
            self.limit_requests = LimitRequests()
        return await self.limit_requests.check(self.backend, self.id)

    def read_output(
        self,
        offset: int = 0,
        follow: bool = True,
        streams: Collection[StreamNumber] = BOTH,
    ) -> OutputReader:
        """A reader of its own, the caller's to close. No checkpoint.

        Bytes that are not kept any more come as gaps. For lines and times see seek.py. Raises
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
        it has, and its end could not be recorded for RECORD_PATIENCE_S: a full disk. The server
        tries again and again, so that a caller that waits again gets it.

        Cancellation: minimum cleanup; C8, C23.
        """
        await self._wait_any(self.finished, self.unrecorded)
        return self._known_end()

    async def _wait_any(self, *events: trio.Event) -> None:
        with PlainErrors().outside():  # ^C of the caller
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
        """Whether its processes stand still; False where none is left."""
        return self.backend is not None and self.backend.is_paused(self.id)

    async def _wait_taken_over(self) -> None:
        """No checkpoint in the usual case, so that what its caller was allowed, and has on record,
        is done though the caller is cancelled in the same moment."""
        if not self.begun.is_set():
            await self.begun.wait()

    async def signal(self, number: int, *, tree: bool = False) -> int:
        """Signals the main process, or every process; how many it was sent to.

        Raises Precondition NOT_RUNNING if no process is left to get it. Completes: cancelled, the
        signal is on its way. If the job has begun, the signal is sent before any checkpoint;
        waiting for the answer, or for the error that there is no job, is one.

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

        No error if it is so already. A stop resumes them, so that they can heed it. Raises
        Precondition NOT_RUNNING, or NOT_PAUSED if they cannot stand still. Completes: cancelled,
        it happens without the caller.

        Cancellation: completes; C18.
        """
        await self._wait_taken_over()
        if self.backend is None or self.state is not JobState.RUNNING:
            stopping = self.state is JobState.STOPPING
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

        Raises Unavailable if the stop is under way but not recorded, because it would be forgotten
        if this server ended now. No error if the job has finished.
        """
        if self.end is not None:
            return
        if self.stop_asked is not None:
            if grace_s is not None:
                self.stop_asked.add(grace_s)
        elif self.state is not JobState.ENDING:
            self.stop_asked = StopAsked(by, reason, grace_s, number)
        # A job whose main process has ended by itself was not stopped: its end is waited for.
        if self.stop_asked is None:
            return
        if self.on_stop is not None:
            self.on_stop()
        if not self.stop_asked.recorded and self.state is JobState.STOPPING:
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
        sooner. Completes: cancelled, it continues without the caller.
        Raises Precondition UNKILLABLE if processes survive KILL for 10 s; the stop continues.
        Raises SupervisorSilent if the supervisor does not answer; the stop continues, KILL
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
            # Made anew each time, because ``unkillable`` is replaced once all processes are dead.
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
