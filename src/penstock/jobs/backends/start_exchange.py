"""START and its answer, and START again once a replaced program was recorded in the audit log."""

from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted_methods
from ...supervisor.ipc import protocol
from ...supervisor.ipc.from_server import Start
from ...supervisor.ipc.from_supervisor import ReplacedFile
from ..reporting import say
from .base import JobSpec, OnReplaced, StartedJob, StartRefused
from .reported_job import ReportedJob
from .requests import STANDS_STILL, Requests
from .supervisor_connection import SupervisorConnection

# A package update replaces a program once, and another may follow in the same moment.
_MOST_REPLACED: Final = 3
_REPLACED_AGAIN: Final = "the program's file is replaced again and again; try again after that"
_NOT_WRITTEN_DOWN: Final = (
    "the program was replaced, which cannot be written down now, so it is not run; the server's "
    "log says why"
)


@uninterrupted_methods
class StartExchange:
    """Starts jobs over one connection. A job is in ``jobs`` from its START until it is refused, or
    released."""

    def __init__(
        self,
        connection: SupervisorConnection,
        requests: Requests,
        jobs: dict[str, ReportedJob],
    ) -> None:
        self._connection = connection
        self._requests = requests
        self._jobs = jobs

    async def start(
        self,
        job_id: str,
        spec: JobSpec,
        owner: str,
        *,
        generation: str,
        on_replaced: OnReplaced | None = None,
    ) -> StartedJob | StartRefused:
        """As in Backend, decided by the ``generation`` of this hash.

        Cancellation: completes; C4.
        """
        audited: list[str] = []
        for _ in range(_MOST_REPLACED):
            answer = await self._start(job_id, spec, owner, generation, audited)
            if isinstance(answer, StartedJob | StartRefused):
                return answer
            try:
                if on_replaced is not None:
                    on_replaced(answer)
            except Exception as error:  # the callback is the embedder's, so it can raise anything
                say(f"job {job_id} of {owner} is not started: {error}")
                return StartRefused("lost", _NOT_WRITTEN_DOWN)
            audited += [each.now for each in answer]
        return StartRefused(protocol.EXECUTABLE, _REPLACED_AGAIN)

    async def _start(
        self, job_id: str, spec: JobSpec, owner: str, generation: str, audited: list[str]
    ) -> StartedJob | StartRefused | tuple[ReplacedFile, ...]:
        """One START, and its answer, or the files that must be audited before the next."""
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
            policy=generation,
            spec=spec,
            audited=tuple(audited),
        )
        job = self._jobs[job_id] = ReportedJob()
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
