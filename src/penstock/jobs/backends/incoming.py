"""Forwards each message of the supervisor: to a job's state, or to the caller that waits for it."""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted_methods
from ...supervisor.ipc import protocol
from ...supervisor.ipc.from_server import Release, Take
from ...supervisor.ipc.from_supervisor import (
    Changed,
    Emptied,
    Exited,
    Held,
    Inspected,
    Killed,
    Looked,
    Nothing,
    Paused,
    RefusedMessage,
    ReplacedMessage,
    Resumed,
    Signaled,
    StartedMessage,
)
from ...supervisor.ipc.message_base import Message
from ...supervisor.ipc.reload_messages import Abandon, Prepare, Switch
from ..output.capture import close_pipes
from ..output.disk import RealDisk
from .base import HeldJob, StartRefused
from .reloads import Reloads
from .reported_job import ReportedJob, close_all
from .requests import Requests
from .supervisor_connection import SupervisorConnection

_NO_DESCRIPTORS: Final = (
    "the server has no free file descriptors for the job's output; try again when others have ended"
)


@uninterrupted_methods
class Incoming:
    """The incoming messages of one connection. ``jobs`` are those that were started or taken over,
    and not released."""

    def __init__(
        self,
        connection: SupervisorConnection,
        requests: Requests,
        reloads: Reloads,
        on_limits_changed: Callable[[Changed], None],
        on_paused: Callable[[str], None],
    ) -> None:
        self.jobs: dict[str, ReportedJob] = {}
        self._connection = connection
        self._requests = requests
        self._reloads = reloads
        self._on_limits_changed = on_limits_changed
        self._on_paused = on_paused
        self._taking: trio.MemorySendChannel[None] | None = None
        self._taken: list[HeldJob] = []

    async def take_held(self) -> list[HeldJob]:
        """The jobs that an earlier server has left, as far as the supervisor named them before the
        connection was lost.

        Cancellation: minimum cleanup; C13, C35.
        """
        self._taken = []
        self._taking, told = trio.open_memory_channel[None](1)
        try:
            with told:
                if not self._connection.closed.is_set():
                    self._connection.send(Take())
                    async for _ in told:
                        self._connection.send(Take())
                else:
                    await trio.lowlevel.checkpoint()
        except BaseException:
            for each in self._taken:
                close_pipes(RealDisk(), each.pipes)
            raise
        finally:
            self._taking = None
        return self._taken

    def deliver(self, message: Message, fds: list[int]) -> None:
        """A message has come; ``fds`` are closed here or forwarded with it. Raises ProtocolError
        for an answer that was not asked for."""
        match message:
            case Paused():
                if (job := self.jobs.get(message.id)) is not None:
                    job.paused = message.paused
                    self._on_paused(message.id)
                self._requests.answered(message)
            case Killed() | Signaled() | Inspected() | Looked():
                self._requests.answered(message)
            case Prepare() | Switch() | Abandon():
                self._reloads.deliver(message, fds)
            case Held():
                self._took(message, fds)
            case Nothing() if self._taking is not None:
                self._taking.close()
            case RefusedMessage() if message.id not in self.jobs and self._taking is not None:
                self._taking.send_nowait(None)  # it was starting while it was taken, and has failed
            case (
                StartedMessage()
                | RefusedMessage()
                | ReplacedMessage()
                | Changed()
                | Resumed()
                | Exited()
                | Emptied()
            ) if (job := self.jobs.get(message.id)) is not None:
                self._of_job(job, message, fds)
            case _:  # of a job that was released
                close_all(fds)

    def _of_job(self, job: ReportedJob, message: Message, fds: Sequence[int]) -> None:
        match message:
            case StartedMessage() if len(fds) != len(message.fds):
                # unix(7): descriptors that this process has no room for are cut off without an
                # error. Its output could not be kept, so it must not run: RELEASE kills it.
                close_all(fds)
                self._connection.send(Release(message.id))
                job.was_refused(StartRefused(protocol.EXHAUSTED, _NO_DESCRIPTORS))
            case StartedMessage():
                began = job.has_started(message, fds)
                if job.left_alone:
                    close_pipes(RealDisk(), began.pipes)
            case RefusedMessage():
                # A supervisor that is ending is no fault of the request, so it counts as lost: the
                # next supervisor may grant it.
                fault = "lost" if message.stage == protocol.STOPPING else message.fault
                job.was_refused(StartRefused(fault, message.message))
            case ReplacedMessage():
                job.waits_for(message.files)
            case Changed():
                self._on_limits_changed(message)
            case Resumed():
                job.paused = False
                self._on_paused(message.id)
            case Exited():
                job.has_exited(message)
            case Emptied():
                job.has_emptied(message)

    def _took(self, message: Held, fds: list[int]) -> None:
        if self._taking is None:  # the caller was cancelled, so the job is left for the next one
            close_all(fds)
            return
        if len(fds) == len(message.fds):
            job = self.jobs[message.id] = ReportedJob()
            began = job.has_started(message, fds)
            job.paused = message.paused
            self._taken.append(HeldJob(message.id, message.opaque, began.started, began.pipes))
        else:  # as for STARTED
            close_all(fds)
            self._connection.send(Release(message.id))
        self._taking.send_nowait(None)

    def end(self) -> None:
        """No message comes any more, so each job is lost, and killed if the supervisor has left,
        because otherwise it would run without a supervisor."""
        if self._taking is not None:
            self._taking.close()
        for job in self.jobs.values():
            job.is_lost(self._connection.lost, kill=self._connection.gone)
