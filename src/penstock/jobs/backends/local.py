"""This machine as a Backend: the supervisor, at the other end of its socket.

Theory of operation. ``connect_local`` connects and greets; ``run`` then carries messages until the
block is left or the supervisor goes. A job here is a ReportedJob in ``_jobs``, from ``start`` (or
``take_held``) to ``release``:

1. Asked: START is sent, and the caller waits. REFUSED drops the job; REPLACED drops it too, and
   START is sent again once the replaced file was audited; STARTED brings its pipes.
2. Running: signal, kill, set_paused, inspect and look_at_limits may be called, in any number and
   from any task. Each request is queued before its first checkpoint, so a cancelled caller only
   misses the answer.
3. Exited, then emptied: ``wait_main_exited`` and ``wait`` return, now or whenever they are called.
4. Released: the caller has recorded the end, and no method may be called for the job any more.

The races that shaped it. A caller of ``start`` may be cancelled before STARTED comes: the job is
``left_alone``, so its pipes are closed as they come. A supervisor may stand still while a stop is
due: ``kill`` does not wait for it, because this process has a descriptor that kills the group. And
a supervisor may die: then this process kills every job that it has such a descriptor for, and each
verdict is ``lost``, because no process is left that could collect a status. If this process leaves
instead, nothing is killed here, because what happens to the jobs is the supervisor's to decide.
"""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from ...concurrency.interrupts import uninterrupted, uninterrupted_context, uninterrupted_methods
from ...concurrency.plain_errors import PlainErrors
from ...policy.limit_classes import Enforcement
from ...supervisor.ipc.from_server import (
    CloseInput,
    Inspect,
    Kill,
    Look,
    Pause,
    Release,
    Serving,
    Signal,
)
from ...supervisor.ipc.from_supervisor import (
    Changed,
    Inspected,
    Killed,
    Left,
    Looked,
    Paused,
    Signaled,
)
from ...supervisor.ipc.message_record import write_record
from ..job_errors import Unavailable
from .base import HeldJob, JobSpec, OnReplaced, StartedJob, StartRefused, Verdict
from .incoming import Incoming
from .reloads import Reloads
from .reported_job import read_whole
from .requests import Requests
from .start_exchange import StartExchange
from .supervisor_connection import SupervisorConnection

# A supervisor that runs answers a KILL in milliseconds. After this it is done from here instead.
_KILL_ANSWER_S: Final = 1.0
_SILENCE_S: Final = 60.0


@uninterrupted_methods
class LocalBackend:
    """A connected supervisor. If the supervisor goes, this object kills every job that it can,
    and the verdict of each is ``lost``.
    """

    def __init__(self, connection: trio.socket.SocketType, silence_s: float = _SILENCE_S) -> None:
        self._connection = SupervisorConnection(connection, silence_s)
        self._requests = Requests(self._connection)
        self.reloads = Reloads(self._connection)
        """What the supervisor offers when files have changed; a server sets its callbacks."""
        self._incoming = Incoming(
            *(self._connection, self._requests, self.reloads),
            *(self._limits_changed, self._paused),
        )
        self._jobs = self._incoming.jobs
        self._starts = StartExchange(self._connection, self._requests, self._jobs)
        self.policy_bytes = b""
        self.configuration_bytes = b""
        """Both as WELCOME has brought them; the latter is empty from a supervisor of an earlier
        version."""
        self.on_limits_changed: Callable[[Changed], None] = lambda changed: None
        self.on_paused: Callable[[str], None] = lambda job_id: None
        self._kill_fd = -1

    @property
    def mode(self) -> str:
        """``root``, or ``user`` for a supervisor without root's rights."""
        return self.reloads.welcome.mode

    @property
    def kind(self) -> str:
        """How jobs are grouped: v1, v2 or hybrid cgroups, or ``tree`` without cgroups."""
        return self.reloads.welcome.cgroups

    @property
    def limits(self) -> list[Enforcement]:
        """One entry for each limit: whether and how this host can hold it."""
        return list(self.reloads.welcome.limits)

    @property
    def warnings(self) -> list[str]:
        """Sentences for the operator about this host and its configuration."""
        return list(self.reloads.welcome.warnings)

    @property
    def userless(self) -> dict[str, str]:
        """Clients that have no user of their own, and why; empty from a supervisor of an earlier
        version."""
        return dict(self.reloads.welcome.userless)

    def capabilities(self) -> Mapping[str, Any]:
        """As in Backend; limits are Enforcement."""
        return {**write_record(self.reloads.welcome), "limits": self.limits}

    async def greet(self) -> None:
        """Sends HELLO and reads WELCOME; call it once, before anything else. Raises Unavailable.

        Cancellation: minimum cleanup.
        """
        self.reloads.welcome, named = await self._connection.greet()
        self._kill_fd = named.get("kill", -1)
        self.policy_bytes = read_whole(named["policy"])
        if "configuration" in named:
            self.configuration_bytes = read_whole(named["configuration"])

    async def run(self) -> None:
        """Carries messages until the supervisor goes or this is cancelled.

        Cancellation: minimum cleanup; C14.
        """
        try:
            await self._connection.run(self._incoming.deliver)
        finally:
            self._lose()

    @property
    def lost(self) -> str:
        """Why the connection is closed; "" while it is open."""
        return self._connection.lost

    async def wait_closed(self) -> None:
        """Returns when the connection is closed, whichever side has left.

        Cancellation: minimum cleanup; C14.
        """
        await self._connection.closed.wait()

    def _limits_changed(self, changed: Changed) -> None:
        self.on_limits_changed(changed)

    def _paused(self, job_id: str) -> None:
        self.on_paused(job_id)

    def _lose(self) -> None:
        self._connection.end()
        # WELCOME brought this descriptor for jobs that are starting, which have none of their own.
        if self._kill_fd >= 0:
            if self._connection.gone:
                with contextlib.suppress(OSError):  # there are none
                    os.write(self._kill_fd, b"1")
            os.close(self._kill_fd)
            self._kill_fd = -1
        self._incoming.end()
        self._requests.fail_all()

    def give_up_after(self, silence_s: float) -> None:
        """A supervisor that is silent for so long is given up, from now on. No checkpoint."""
        self._connection.heartbeat.bound_s = silence_s

    def serving(self) -> None:
        """Reports that this server takes calls, so clients can end their jobs. No checkpoint."""
        self._connection.send(Serving())

    async def take_held(self) -> list[HeldJob]:
        """As in Backend. Only what came before the connection was lost.

        Cancellation: minimum cleanup; C13, C35.
        """
        return await self._incoming.take_held()

    @property
    def generation(self) -> str:
        """As in Backend."""
        return self.reloads.generation

    async def wait_generation_after(self, generation: str) -> None:
        """As in Backend.

        Cancellation: atomic; C73.
        """
        await self.reloads.wait_generation_after(generation)

    async def start(
        self,
        job_id: str,
        spec: JobSpec,
        owner: str,
        *,
        generation: str | None = None,
        on_replaced: OnReplaced | None = None,
    ) -> StartedJob | StartRefused:
        """As in Backend. A command line that fits no message is refused as invalid.

        Cancellation: completes; C4.
        """
        return await self._starts.start(
            *(job_id, spec, owner),
            generation=self.generation if generation is None else generation,
            on_replaced=on_replaced,
        )

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
        """As in Backend. Completes: the signal is on its way though the caller is cancelled.

        Cancellation: completes; C18, C24, C25.
        """
        request = Signal(job_id, int(number), tree, kill_after_s)
        answer = await self._requests.ask(request, Signaled, may_be_refused=kill_after_s is None)
        return 0 if answer is None else answer.count

    async def kill(self, job_id: str) -> int:
        """As in Backend. It does not wait for a supervisor that stands still, because this process
        has a descriptor of the group's cgroup.kill, except on pure v1 and without cgroups.

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

        Cancellation: completes; C18, C62.
        """
        # A request to resume is never refused, because a stop needs it.
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
        """As in Backend. False with a supervisor of an earlier version, which does not look."""
        return self.reloads.welcome.looks

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

    Leaving the block closes the connection, upon which the supervisor ends what still runs. A
    supervisor that is silent for ``silence_s`` is given up, as if it had died.

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
        # Shielded, because jobs are stopped through it while everything around is cancelled; it
        # ends with the block.
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
