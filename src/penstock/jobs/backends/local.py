"""This machine as a Backend: the supervisor, at the other end of its socket."""

import contextlib
import os
import socket
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from ...concurrency.interrupts import uninterrupted, uninterrupted_context, uninterrupted_methods
from ...concurrency.plain_errors import PlainErrors
from ...policy.limit_classes import Enforcement
from ...supervisor.ipc import protocol
from ..job_errors import SupervisorSilent, Unavailable
from ..output.capture import close_pipes
from ..output.disk import RealDisk
from ..reporting import say
from .base import (
    HeldJob,
    JobSpec,
    Left,
    LimitsChanged,
    OnReplaced,
    ReplacedFile,
    Started,
    StartRefused,
    Verdict,
)
from .job_state import JobState, close_all, limits_changed, read_whole, started
from .supervisor_connection import SupervisorConnection

_NO_DESCRIPTORS: Final = (
    "the server has no free file descriptors for the job's output; try again when others have ended"
)
# A supervisor that runs answers a KILL in milliseconds. Then it is done from here.
_KILL_ANSWER_S: Final = 1.0
_SILENCE_S: Final = 60.0

# Requests of clients that wait for their answers, those too whose callers have left. A supervisor
# answers each within a millisecond, so there are so many only when it stands still.
_MOST_UNANSWERED: Final = 1024
_STANDS_STILL: Final = "the supervisor does not take requests now; nothing was done, so try again"

# A package update replaces a program once, and another may follow in the same moment.
_MOST_REPLACED: Final = 3
_REPLACED_AGAIN: Final = "the program's file is replaced again and again; try again after that"
_NOT_WRITTEN_DOWN: Final = (
    "the program was replaced, which cannot be written down now, so it is not run; the server's "
    "log says why"
)

_ANSWERS: Final = (
    *(protocol.KILLED, protocol.SIGNALED, protocol.PAUSED, protocol.INSPECTED),
    protocol.LOOKED,
)


class _Question:
    """A request whose answer is waited for; those of one kind and job are answered in order."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: dict[str, Any] | None = None

    def tell(self, answer: dict[str, Any] | None) -> None:
        self.answer = answer
        self.answered.set()


@uninterrupted_methods
class LocalBackend:
    """A connected supervisor. If it goes, it kills every job that it can,
    and each one's verdict is ``lost``.
    """

    def __init__(self, connection: trio.socket.SocketType, silence_s: float = _SILENCE_S) -> None:
        self._connection = SupervisorConnection(connection, silence_s)
        self._pending: dict[str, JobState] = {}
        self._asked: defaultdict[tuple[str, str], deque[_Question]] = defaultdict(deque)
        self._unanswered = 0
        self._taking: trio.MemorySendChannel[None] | None = None
        self._taken: list[HeldJob] = []
        self._welcome: dict[str, Any] = {}
        self.policy_bytes = b""
        self.on_limits_changed: Callable[[str, LimitsChanged], None] = lambda job_id, changed: None
        self._kill_fd = -1

    @property
    def mode(self) -> str:
        """root or user."""
        return str(self._welcome["mode"])

    @property
    def kind(self) -> str:
        """v1, v2, hybrid or tree."""
        return str(self._welcome["kind"])

    @property
    def limits(self) -> list[Enforcement]:
        """Per limit, what this host can do."""
        return [Enforcement(**entry) for entry in self._welcome["limits"]]

    @property
    def warnings(self) -> list[str]:
        """What an operator should know."""
        return list(self._welcome["warnings"])

    @property
    def userless(self) -> dict[str, str]:
        """Clients that have no user of their own, and why; an earlier supervisor tells of none."""
        return dict(self._welcome.get("userless", {}))

    def capabilities(self) -> Mapping[str, Any]:
        """As in Backend; limits are Enforcement."""
        return {**self._welcome, "limits": self.limits}

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

    def _dispatch(self, message: dict[str, Any], fds: list[int]) -> None:
        kind, job_id = message["type"], message.get("id", "")
        pending = self._pending.get(job_id)
        if kind in _ANSWERS:
            if kind == protocol.PAUSED and pending is not None:
                pending.paused = message["paused"]
            waiting = self._asked.get((kind, job_id))
            if not waiting:
                raise protocol.ProtocolError(f"{kind}: nobody has asked for that")
            self._unanswered -= 1
            waiting.popleft().tell(message)
            if not waiting:  # it may have come after the job was released
                del self._asked[kind, job_id]
        elif kind == protocol.HELD:
            self._took(message, fds)
        elif kind == protocol.NOTHING and self._taking is not None:
            self._taking.close()
        elif kind == protocol.REFUSED and pending is None and self._taking is not None:
            self._taking.send_nowait(None)  # it was starting still, and has failed
        elif pending is None:
            close_all(fds)
        elif kind == protocol.STARTED and len(fds) != len(message["fds"]):
            # unix(7): what this process has no free descriptors for is cut off, without a word.
            # Its output could not be kept, so it must not run: RELEASE kills it.
            close_all(fds)
            self._connection.send(protocol.RELEASE, id=job_id)
            pending.answer = StartRefused(protocol.EXHAUSTED, _NO_DESCRIPTORS)
            pending.answered.set()
        elif kind == protocol.STARTED:
            pending.answer, pending.kill_fd = started(message, fds)
            if pending.left_alone:
                close_pipes(RealDisk(), pending.answer)
            pending.answered.set()
        elif kind == protocol.REFUSED:
            # One that is just ending is no fault of the request: the next supervisor takes it.
            fault = "lost" if message["stage"] == protocol.STOPPING else message["fault"]
            pending.answer = StartRefused(fault, message["message"])
            pending.answered.set()
        elif kind == protocol.REPLACED:
            pending.replaced = tuple(ReplacedFile(**each) for each in message["files"])
            pending.answered.set()
        elif kind == protocol.CHANGED:
            self.on_limits_changed(job_id, limits_changed(message))
        elif kind == protocol.RESUMED:
            pending.paused = False
        elif kind == protocol.EXITED:
            pending.status, pending.timed_out = message["status"], message["timed_out"]
            pending.escalated = message["escalated"]
            pending.storage_full = message["storage_full"]
            pending.exited.set()
        elif kind == protocol.EMPTIED:
            pending.killed, pending.counters = message["killed"], message["counters"]
            pending.emptied.set()

    def _took(self, message: dict[str, Any], fds: list[int]) -> None:
        job_id = message["id"]
        if self._taking is None:  # whoever has asked was cancelled: it is the next one's
            close_all(fds)
            return
        if len(fds) == len(message["fds"]):
            pending = self._pending[job_id] = JobState()
            pending.answer, pending.kill_fd = started(message, fds)
            pending.paused = message["paused"]
            pending.answered.set()
            self._taken.append(HeldJob(job_id, message["opaque"], pending.answer))
        else:  # as for STARTED
            close_all(fds)
            self._connection.send(protocol.RELEASE, id=job_id)
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
        for pending in self._pending.values():
            if not pending.answered.is_set():
                pending.answer = StartRefused("lost", why)
                pending.answered.set()
            # With the supervisor gone nobody holds these jobs, so nobody would ever end them:
            # each START brought a descriptor of the group's cgroup.kill, opened by root, for this.
            # If it is we who leave, the supervisor knows what to do with them.
            if not pending.emptied.is_set():
                pending.lost = why
                pending.close(kill=kill)
            pending.exited.set()
            pending.emptied.set()
        for waiting in self._asked.values():
            while waiting:
                self._unanswered -= 1
                waiting.popleft().tell(None)

    def serving(self) -> None:
        """Tells the supervisor that jobs have somebody again who can end them. No checkpoint."""
        self._connection.send(protocol.SERVING)

    async def take_held(self) -> list[HeldJob]:
        """As in Backend. What came before the connection was lost.

        Cancellation: minimum cleanup; C13, C35.
        """
        self._taken = []
        self._taking, told = trio.open_memory_channel[None](1)
        try:
            with told:
                if not self._connection.closed.is_set():
                    self._connection.send(protocol.TAKE)
                    async for _ in told:
                        self._connection.send(protocol.TAKE)
                else:
                    await trio.lowlevel.checkpoint()
        except BaseException:
            for each in self._taken:
                close_pipes(RealDisk(), each.started)
            raise
        finally:
            self._taking = None
        return self._taken

    async def start(
        self, job_id: str, spec: JobSpec, owner: str, *, on_replaced: OnReplaced | None = None
    ) -> Started | StartRefused:
        """As in Backend. A command line that fits no message is refused as invalid.

        Cancellation: completes; C4.
        """
        audited: list[str] = []
        for _ in range(_MOST_REPLACED):
            answer = await self._start(job_id, spec, owner, audited)
            if isinstance(answer, Started | StartRefused):
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
    ) -> Started | StartRefused | tuple[ReplacedFile, ...]:
        """One START, and its answer."""
        if self._connection.closed.is_set():
            await trio.lowlevel.checkpoint()
            return StartRefused("lost", self._connection.lost)
        if self._is_full():
            await trio.lowlevel.checkpoint()
            return StartRefused("lost", _STANDS_STILL)
        pending = self._pending[job_id] = JobState()
        try:
            self._connection.send(
                protocol.START,
                id=job_id,
                opaque=owner,
                client=owner,
                policy=self._welcome["policy"],
                command=spec.command,
                arguments=spec.arguments,
                env=dict(spec.env),
                timeout_s=spec.timeout_s,
                stdin=spec.stdin,
                audited=audited,
            )
        except protocol.ProtocolError as error:
            del self._pending[job_id]
            await trio.lowlevel.checkpoint()
            return StartRefused(protocol.INVALID, str(error))
        self._unanswered += 1
        try:
            await pending.answered.wait()
        except BaseException:
            pending.left_alone = True
            raise
        finally:
            self._unanswered -= 1
        if pending.replaced:
            del self._pending[job_id]
            return pending.replaced
        assert pending.answer is not None
        if isinstance(pending.answer, StartRefused):
            del self._pending[job_id]
        return pending.answer

    async def wait_main_exited(self, job_id: str) -> None:
        """As in Backend.

        Cancellation: minimum cleanup; C8.
        """
        await self._pending[job_id].exited.wait()

    async def wait(self, job_id: str) -> Verdict:
        """As in Backend.

        Cancellation: minimum cleanup; C8, C36.
        """
        pending = self._pending[job_id]
        await pending.emptied.wait()
        if pending.lost or pending.status is None:
            why = pending.lost or "the exit status could not be collected"
            return Verdict("lost", counters=pending.counters, detail=why)
        code = os.waitstatus_to_exitcode(pending.status)
        return Verdict(
            "exited" if code >= 0 else "signaled",
            abs(code),
            pending.timed_out,
            pending.killed,
            pending.counters,
            escalated=pending.escalated,
            storage_full=pending.storage_full,
        )

    async def signal(
        self, job_id: str, number: int, *, tree: bool = False, kill_after_s: float | None = None
    ) -> int:
        """As in Backend. Completes: the signal is on its way though the caller leaves.

        Cancellation: completes; C18, C24, C25.
        """
        answer = await self._ask(
            protocol.SIGNAL,
            protocol.SIGNALED,
            job_id,
            may_be_refused=kill_after_s is None,
            signal=int(number),
            tree=tree,
            kill_after_s=kill_after_s,
        )
        return 0 if answer is None else int(answer["count"])

    async def kill(self, job_id: str) -> int:
        """As in Backend. A supervisor that does not answer is not waited for: this process has
        a descriptor of the group's cgroup.kill, except on pure v1 and without cgroups.

        Cancellation: completes; C5.
        """
        question = self._question(protocol.KILL, protocol.KILLED, job_id)
        pending = self._pending.get(job_id)
        if pending is not None and pending.kill_fd >= 0:
            # Scope S5.kill.
            with trio.move_on_after(_KILL_ANSWER_S):
                await question.answered.wait()
            if not question.answered.is_set():
                pending.kill()
                return 0
        await question.answered.wait()
        return 0 if question.answer is None else int(question.answer["count"])

    async def set_paused(self, job_id: str, paused: bool) -> str:
        """As in Backend.

        Cancellation: completes; C18.
        """
        # What lets it run on is never refused: a stop needs it.
        answer = await self._ask(
            protocol.PAUSE, protocol.PAUSED, job_id, may_be_refused=paused, paused=paused
        )
        if answer is None:
            return self._connection.lost
        return "" if answer["paused"] == paused else str(answer["message"])

    def is_paused(self, job_id: str) -> bool:
        """As in Backend."""
        pending = self._pending.get(job_id)
        return pending is not None and pending.paused

    async def inspect(self, job_id: str) -> list[Left]:
        """As in Backend.

        Cancellation: minimum cleanup.
        """
        answer = await self._ask(protocol.INSPECT, protocol.INSPECTED, job_id)
        return [] if answer is None else [Left(**each) for each in answer["processes"]]

    def holds_limits(self) -> bool:
        """As in Backend. A supervisor of an earlier version does not look."""
        return self._welcome.get("looks") is True

    async def look_at_limits(self, job_id: str) -> None:
        """As in Backend.

        Cancellation: minimum cleanup; C18b.
        """
        await self._ask(protocol.LOOK, protocol.LOOKED, job_id, may_be_refused=True)

    def close_input(self, job_id: str) -> None:
        """As in Backend."""
        self._connection.send(protocol.CLOSE_INPUT, id=job_id)

    def _is_full(self) -> bool:
        return self._connection.is_full or self._unanswered >= _MOST_UNANSWERED

    async def answered(self, wait: Callable[[], Awaitable[object]]) -> bool:
        """As in Backend.

        Cancellation: minimum cleanup; C26.
        """
        return await self._connection.heartbeat.answered(wait)

    def is_silent(self) -> bool:
        """As in Backend."""
        return self._connection.heartbeat.is_silent

    async def _ask(
        self, kind: str, answer: str, job_id: str, *, may_be_refused: bool = False, **about: Any
    ) -> dict[str, Any] | None:
        """The answer to one request; None if the supervisor is gone. Raises SupervisorSilent, and
        Unavailable if it was not asked."""
        if may_be_refused and self._is_full() and not self._connection.closed.is_set():
            raise Unavailable(_STANDS_STILL)
        question = self._question(kind, answer, job_id, **about)
        if not await self.answered(question.answered.wait):
            raise SupervisorSilent(
                f"the supervisor does not answer; {kind} is on its way to it: ask again"
            )
        return question.answer

    def _question(self, kind: str, answer: str, job_id: str, **about: Any) -> _Question:
        """Asks; with nobody there to ask, it is answered already."""
        question = _Question()
        if self._connection.closed.is_set():
            question.tell(None)
        else:
            self._unanswered += 1
            self._asked[answer, job_id].append(question)
            self._connection.send(kind, id=job_id, **about)
        return question

    def release(self, job_id: str) -> None:
        """As in Backend."""
        if pending := self._pending.pop(job_id, None):
            pending.close()
        self._connection.send(protocol.RELEASE, id=job_id)


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
