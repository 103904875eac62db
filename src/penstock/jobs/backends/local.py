"""This machine as a Backend: the supervisor, at the other end of its socket."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import trio

from ...concurrency.interrupts import uninterrupted, uninterrupted_context, uninterrupted_methods
from ...concurrency.plain_errors import PlainErrors
from ...policy.limit_classes import Enforcement
from ...supervisor.ipc import protocol
from ...supervisor.ipc.from_server import (
    CloseInput,
    Inspect,
    Kill,
    Look,
    Pause,
    Release,
    Serving,
    Signal,
    Start,
    Take,
)
from ...supervisor.ipc.from_supervisor import (
    Changed,
    Emptied,
    Exited,
    Held,
    Inspected,
    Killed,
    Left,
    Looked,
    Nothing,
    Paused,
    RefusedMessage,
    ReplacedFile,
    ReplacedMessage,
    Resumed,
    Signaled,
    StartedMessage,
    Welcome,
)
from ...supervisor.ipc.message_base import Message
from ...supervisor.ipc.message_record import write_record
from ..job_errors import Unavailable
from ..output.capture import close_pipes
from ..output.disk import RealDisk
from ..reporting import say
from .base import HeldJob, JobSpec, OnReplaced, StartedJob, StartRefused, Verdict
from .job_state import JobState, close_all, read_whole
from .requests import STANDS_STILL, Requests
from .supervisor_connection import SupervisorConnection

_NO_DESCRIPTORS: Final = (
    "the server has no free file descriptors for the job's output; try again when others have ended"
)
# A supervisor that runs answers a KILL in milliseconds. Then it is done from here.
_KILL_ANSWER_S: Final = 1.0
_SILENCE_S: Final = 60.0

# A package update replaces a program once, and another may follow in the same moment.
_MOST_REPLACED: Final = 3
_REPLACED_AGAIN: Final = "the program's file is replaced again and again; try again after that"
_NOT_WRITTEN_DOWN: Final = (
    "the program was replaced, which cannot be written down now, so it is not run; the server's "
    "log says why"
)


@uninterrupted_methods
class LocalBackend:
    """A connected supervisor. If it goes, it kills every job that it can,
    and each one's verdict is ``lost``.
    """

    def __init__(self, connection: trio.socket.SocketType, silence_s: float = _SILENCE_S) -> None:
        self._connection = SupervisorConnection(connection, silence_s)
        self._requests = Requests(self._connection)
        self._jobs: dict[str, JobState] = {}
        self._taking: trio.MemorySendChannel[None] | None = None
        self._taken: list[HeldJob] = []
        self._welcome: Welcome
        self.policy_bytes = b""
        self.on_limits_changed: Callable[[Changed], None] = lambda changed: None
        self._kill_fd = -1

    @property
    def mode(self) -> str:
        """root or user."""
        return self._welcome.mode

    @property
    def kind(self) -> str:
        """v1, v2, hybrid or tree."""
        return self._welcome.cgroups

    @property
    def limits(self) -> list[Enforcement]:
        """Per limit, what this host can do."""
        return list(self._welcome.limits)

    @property
    def warnings(self) -> list[str]:
        """What an operator should know."""
        return list(self._welcome.warnings)

    @property
    def userless(self) -> dict[str, str]:
        """Clients that have no user of their own, and why; an earlier supervisor tells of none."""
        return dict(self._welcome.userless)

    def capabilities(self) -> Mapping[str, Any]:
        """As in Backend; limits are Enforcement."""
        return {**write_record(self._welcome), "limits": self.limits}

    async def greet(self) -> None:
        """HELLO and WELCOME. Raises Unavailable.

        Cancellation: minimum cleanup.
        """
        self._welcome, named = await self._connection.greet()
        self._kill_fd = named.get("kill", -1)
        self.policy_bytes = read_whole(named["policy"])

    async def run(self) -> None:
        """Carries messages until the supervisor goes or this is cancelled.

        Cancellation: minimum cleanup; C14.
        """
        try:
            await self._connection.run(self._dispatch)
        finally:
            self._lose()

    @property
    def lost(self) -> str:
        """Why it is closed, once it is."""
        return self._connection.lost

    async def wait_closed(self) -> None:
        """Returns when the supervisor is gone.

        Cancellation: minimum cleanup; C14.
        """
        await self._connection.closed.wait()

    def _dispatch(self, message: Message, fds: list[int]) -> None:
        match message:
            case Paused():
                if (job := self._jobs.get(message.id)) is not None:
                    job.paused = message.paused
                self._requests.answered(message)
            case Killed() | Signaled() | Inspected() | Looked():
                self._requests.answered(message)
            case Held():
                self._took(message, fds)
            case Nothing() if self._taking is not None:
                self._taking.close()
            case RefusedMessage() if message.id not in self._jobs and self._taking is not None:
                self._taking.send_nowait(None)  # it was starting still, and has failed
            case (
                StartedMessage()
                | RefusedMessage()
                | ReplacedMessage()
                | Changed()
                | Resumed()
                | Exited()
                | Emptied()
            ) if (job := self._jobs.get(message.id)) is not None:
                self._of_job(job, message, fds)
            case _:  # of a job that was released
                close_all(fds)

    def _of_job(self, job: JobState, message: Message, fds: Sequence[int]) -> None:
        match message:
            case StartedMessage() if len(fds) != len(message.fds):
                # unix(7): what this process has no free descriptors for is cut off, without a word.
                # Its output could not be kept, so it must not run: RELEASE kills it.
                close_all(fds)
                self._connection.send(Release(message.id))
                job.was_refused(StartRefused(protocol.EXHAUSTED, _NO_DESCRIPTORS))
            case StartedMessage():
                began = job.has_started(message, fds)
                if job.left_alone:
                    close_pipes(RealDisk(), began.pipes)
            case RefusedMessage():
                # One that is just ending is no fault of the request: the next supervisor takes it.
                fault = "lost" if message.stage == protocol.STOPPING else message.fault
                job.was_refused(StartRefused(fault, message.message))
            case ReplacedMessage():
                job.waits_for(message.files)
            case Changed():
                self.on_limits_changed(message)
            case Resumed():
                job.paused = False
            case Exited():
                job.has_exited(message)
            case Emptied():
                job.has_emptied(message)

    def _took(self, message: Held, fds: list[int]) -> None:
        if self._taking is None:  # whoever has asked was cancelled: it is the next one's
            close_all(fds)
            return
        if len(fds) == len(message.fds):
            job = self._jobs[message.id] = JobState()
            began = job.has_started(message, fds)
            job.paused = message.paused
            self._taken.append(HeldJob(message.id, message.opaque, began.started, began.pipes))
        else:  # as for STARTED
            close_all(fds)
            self._connection.send(Release(message.id))
        self._taking.send_nowait(None)

    def _lose(self) -> None:
        self._connection.end()
        why, kill = self._connection.lost, self._connection.gone
        if self._taking is not None:
            self._taking.close()
        # Before it was told of any job it was given this one, for those that are starting still.
        if self._kill_fd >= 0:
            if kill:
                with contextlib.suppress(OSError):  # there are none
                    os.write(self._kill_fd, b"1")
            os.close(self._kill_fd)
            self._kill_fd = -1
        for job in self._jobs.values():
            job.is_lost(why, kill=kill)
        self._requests.give_up()

    def serving(self) -> None:
        """Tells the supervisor that jobs have somebody again who can end them. No checkpoint."""
        self._connection.send(Serving())

    async def take_held(self) -> list[HeldJob]:
        """As in Backend. What came before the connection was lost.

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

    async def start(
        self, job_id: str, spec: JobSpec, owner: str, *, on_replaced: OnReplaced | None = None
    ) -> StartedJob | StartRefused:
        """As in Backend. A command line that fits no message is refused as invalid.

        Cancellation: completes; C4.
        """
        audited: list[str] = []
        for _ in range(_MOST_REPLACED):
            answer = await self._start(job_id, spec, owner, audited)
            if isinstance(answer, StartedJob | StartRefused):
                return answer
            try:
                if on_replaced is not None:
                    on_replaced(answer)
            except Exception as error:  # the audit's callback is anybody's
                say(f"job {job_id} of {owner} is not started: {error}")
                return StartRefused("lost", _NOT_WRITTEN_DOWN)
            audited += [each.now for each in answer]
        return StartRefused(protocol.EXECUTABLE, _REPLACED_AGAIN)

    async def _start(
        self, job_id: str, spec: JobSpec, owner: str, audited: list[str]
    ) -> StartedJob | StartRefused | tuple[ReplacedFile, ...]:
        """One START, and its answer."""
        if self._connection.closed.is_set():
            await trio.lowlevel.checkpoint()
            return StartRefused("lost", self._connection.lost)
        if self._requests.is_full:
            await trio.lowlevel.checkpoint()
            return StartRefused("lost", STANDS_STILL)
        start = Start(
            id=job_id,
            opaque=owner,
            client=owner,
            policy=self._welcome.policy,
            spec=spec,
            audited=tuple(audited),
        )
        job = self._jobs[job_id] = JobState()
        try:
            self._connection.send(start)
        except protocol.ProtocolError as error:
            del self._jobs[job_id]
            await trio.lowlevel.checkpoint()
            return StartRefused(protocol.INVALID, str(error))
        try:
            await self._requests.wait_start(job.answered)
        except BaseException:
            job.left_alone = True
            raise
        if job.replaced:
            del self._jobs[job_id]
            return job.replaced
        assert job.answer is not None
        if isinstance(job.answer, StartRefused):
            del self._jobs[job_id]
        return job.answer

    async def wait_main_exited(self, job_id: str) -> None:
        """As in Backend.

        Cancellation: minimum cleanup; C8.
        """
        await self._jobs[job_id].exited.wait()

    async def wait(self, job_id: str) -> Verdict:
        """As in Backend.

        Cancellation: minimum cleanup; C8, C36.
        """
        job = self._jobs[job_id]
        await job.emptied.wait()
        return job.verdict()

    async def signal(
        self, job_id: str, number: int, *, tree: bool = False, kill_after_s: float | None = None
    ) -> int:
        """As in Backend. Completes: the signal is on its way though the caller leaves.

        Cancellation: completes; C18, C24, C25.
        """
        request = Signal(job_id, int(number), tree, kill_after_s)
        answer = await self._requests.ask(request, Signaled, may_be_refused=kill_after_s is None)
        return 0 if answer is None else answer.count

    async def kill(self, job_id: str) -> int:
        """As in Backend. A supervisor that does not answer is not waited for: this process has
        a descriptor of the group's cgroup.kill, except on pure v1 and without cgroups.

        Cancellation: completes; C5.
        """
        question = self._requests.question(Kill(job_id), Killed)
        job = self._jobs.get(job_id)
        if job is not None and job.can_kill:
            # Scope S5.kill.
            with trio.move_on_after(_KILL_ANSWER_S):
                await question.answered.wait()
            if not question.answered.is_set():
                job.kill()
                return 0
        await question.answered.wait()
        return 0 if question.answer is None else question.answer.count

    async def set_paused(self, job_id: str, paused: bool) -> str:
        """As in Backend.

        Cancellation: completes; C18.
        """
        # What lets it run on is never refused: a stop needs it.
        answer = await self._requests.ask(Pause(job_id, paused), Paused, may_be_refused=paused)
        if answer is None:
            return self._connection.lost
        return "" if answer.paused == paused else answer.message

    def is_paused(self, job_id: str) -> bool:
        """As in Backend."""
        job = self._jobs.get(job_id)
        return job is not None and job.paused

    async def inspect(self, job_id: str) -> list[Left]:
        """As in Backend.

        Cancellation: minimum cleanup.
        """
        answer = await self._requests.ask(Inspect(job_id), Inspected)
        return [] if answer is None else list(answer.processes)

    def holds_limits(self) -> bool:
        """As in Backend. A supervisor of an earlier version does not look."""
        return self._welcome.looks

    async def look_at_limits(self, job_id: str) -> None:
        """As in Backend.

        Cancellation: minimum cleanup; C18b.
        """
        await self._requests.ask(Look(job_id), Looked, may_be_refused=True)

    def close_input(self, job_id: str) -> None:
        """As in Backend."""
        self._connection.send(CloseInput(job_id))

    async def answered(self, wait: Callable[[], Awaitable[object]]) -> bool:
        """As in Backend.

        Cancellation: minimum cleanup; C26.
        """
        return await self._connection.heartbeat.answered(wait)

    def is_silent(self) -> bool:
        """As in Backend."""
        return self._connection.heartbeat.is_silent

    def release(self, job_id: str) -> None:
        """As in Backend."""
        if job := self._jobs.pop(job_id, None):
            job.close()
        self._connection.send(Release(job_id))


@uninterrupted_context
@contextlib.asynccontextmanager
async def connect_local(path: str, *, silence_s: float = _SILENCE_S) -> AsyncIterator[LocalBackend]:
    """A backend over the supervisor that listens on ``path``. Raises Unavailable.

    Leaving the block closes the connection, upon which the supervisor ends what still runs. One
    that is silent for ``silence_s`` is given up, as if it had died.

    Cancellation: minimum cleanup; C14.
    """
    connection = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with connection:
        try:
            await connection.connect(path)
        except OSError as error:
            raise Unavailable(f"no supervisor on {path}: {error.strerror}") from error
        backend = LocalBackend(connection, silence_s)
        await backend.greet()
        # Shielded, as jobs are stopped through it while all around is cancelled; it ends
        # with the block.
        # Scope S4.carrying.
        carrying = trio.CancelScope(shield=True)

        @uninterrupted
        async def carry() -> None:
            with carrying:
                await backend.run()

        errors = PlainErrors()
        with errors.outside():
            # Scope S4.supervisor.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry)
                try:
                    with errors.inside():
                        yield backend
                finally:
                    # Cancels S4.carrying.
                    carrying.cancel()
