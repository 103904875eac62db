"""CommandService: who asks, may they, and which job; everything else is the library's.

A handler first checks the request's form, then the policy, then does the one thing it
is for. Between a decision and what it allows there is no checkpoint. Cancelling a call
never ends a job (docs/cancellation.md). A start is in service_start.py, what changes a running job
in service_control.py and service_input.py.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from .. import __version__
from ..jobs.job_errors import JobError
from ..jobs.manager import Manager
from ..jobs.output.seek import begin_of_lines, begin_of_time
from ..policy.limit_classes import Enforcement
from ..policy.policy_file import Policy
from ..proto import command_pb2 as pb
from ..proto.command_grpc import CommandServiceServicer
from ..rpc.lag import Lag
from ..rpc.turns import FairTurns
from ..text import job_text
from .access import translated
from .audit import AuditLog
from .convert import enforcement_message, job_message, totals_message, usage_message
from .error_status import from_job_error
from .output_stream import OutputFrame, OutputFrames, messages
from .parse import page_begin_of, streams_of, wish_of
from .refusal_budget import RefusalBudget
from .repeat_budget import RepeatBudget
from .service_control import ControlCalls
from .service_input import InputCalls
from .service_start import StartCalls

FEATURES: Final = (
    "argv",
    "request_id",
    "env",
    "timeout",
    "validate_only",
    "raw_stream",
    "wait",
    "stream_from",  # tail_lines, since_ns, streams, heartbeat_s
    "remove",
    "signal",
    "stop_options",  # no_wait, signal, took_s
    "stdin",
    "pause",  # not without cgroups
)
_DEFAULT_PAGE: Final = 100
_MAX_PAGE: Final = 1000
_PAGE_BYTES: Final = 1 << 20  # a quarter of what a message may have: one job is far below the rest
# A job is some 50 us, so a page would be 50 ms of the event loop, and a client may ask for a
# hundred at once: one such slice is in a turn, over all clients.
_JOBS_A_TURN: Final = 25


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What ServerInfo says of the machine, as the supervisor told it."""

    mode: str
    kind: str
    limits: tuple[Enforcement, ...]
    warnings: tuple[str, ...]
    userless: Mapping[str, str] = field(default_factory=dict)
    """Clients whose starts are refused for want of a user, and why."""


class CommandService(
    StartCalls,
    ControlCalls,
    InputCalls,
    CommandServiceServicer,  # type: ignore[misc]  # purerpc is untyped
):
    """The gRPC face of one Manager. ``identity`` on a request's context comes from authn."""

    def __init__(
        self,
        manager: Manager,
        policy: Policy,
        audit: AuditLog,
        host: HostInfo,
        clock: Callable[[], float],
        refusals: RefusalBudget | None = None,
        repeats: RepeatBudget | None = None,
        lag: Callable[[], Lag] = Lag,
    ) -> None:
        """As Decisions; ``host`` and ``lag``, asked each time, are what ServerInfo says."""
        super().__init__(manager, policy, audit, clock, refusals, repeats)
        self._host = host
        self._userless = host.userless
        self._lag = lag
        self._frames = OutputFrames()
        self._list_turns = FairTurns()

    async def Status(self, input_message: pb.StatusRequest, request: Any) -> pb.StatusResponse:
        """What the kernel holds the job to is looked at again before it is answered.

        Cancellation: minimum cleanup; C18b, C43.
        """
        _, job = self._job(request, "status", input_message.pid)
        await job.look_at_limits()
        message, usage = job_message(job), usage_message(job.usage())
        return pb.StatusResponse(
            status=job_text.status_text(message, usage), job=message, usage=usage
        )

    async def StreamOutput(
        self, input_message: pb.StreamOutputRequest, request: Any
    ) -> AsyncGenerator[pb.StreamOutputResponse | OutputFrame, None]:
        """Minimum cleanup: the cursor is freed, the job and other readers notice nothing.

        Cancellation: minimum cleanup; C1, C10, C44, C46.
        """
        client, job = self._job(request, "stream", input_message.pid, granted=False)
        about = {"handle": job.handle, "job": job.id}
        with translated(), self._refusals_recorded(client.id, "stream", **about):
            wish, streams = wish_of(input_message), streams_of(input_message)
            self._quotas.take_stream(client)
        try:
            offset = input_message.offset
            if input_message.HasField("tail_lines"):
                offset = await begin_of_lines(job.log, input_message.tail_lines, streams)
            elif input_message.since_ns:
                offset = begin_of_time(job.log, input_message.since_ns)
            with translated(), self._refusals_recorded(client.id, "stream", **about):
                reader = job.read_output(offset, not input_message.no_follow, streams)
            try:
                self._record_read(client.id, "stream", **about)
                async with aclosing(messages(job, reader, wish, self._frames)) as stream:
                    async for message in stream:
                        yield message  # noqa: ASYNC119  # whoever iterates closes it: server_call.py
            except JobError as error:  # no descriptors left to read with
                raise from_job_error(error) from error
            finally:
                reader.close()
        finally:
            self._quotas.give_stream(client)

    async def List(self, input_message: pb.ListRequest, request: Any) -> pb.ListResponse:
        """No checkpoint where there is nothing to list.

        Cancellation: atomic; C43.
        """
        client = self._client(request, "list")
        with self._refusals_recorded(client.id, "list"):
            before = page_begin_of(input_message)
        self._record_read(client.id, "list")
        size = min(input_message.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        page = pb.ListResponse()
        room = _PAGE_BYTES
        last = 0
        jobs = self._manager.list(client.id, include_finished=input_message.all)
        if before is not None:
            jobs = [job for job in jobs if job.sequence < before]
        for begin in range(0, len(jobs), _JOBS_A_TURN):
            async with self._list_turns.of(client.id):
                for job in jobs[begin : begin + _JOBS_A_TURN]:
                    message = job_message(job)
                    room -= message.ByteSize()
                    if len(page.jobs) == size or (page.jobs and room < 0):
                        page.next_page_token = str(last)
                        return page
                    page.jobs.append(message)
                    last = job.sequence
        return page

    async def Wait(self, input_message: pb.WaitRequest, request: Any) -> pb.WaitResponse:
        """Minimum cleanup: the waiting alone ends.

        Cancellation: minimum cleanup; C8, C43.
        """
        _, job = self._job(request, "wait", input_message.pid)
        with translated():
            await job.wait_finished()
        return pb.WaitResponse(job=job_message(job))

    async def Remove(self, input_message: pb.RemoveRequest, request: Any) -> pb.RemoveResponse:
        """No checkpoint: it is done, or refused, when the call is dispatched.

        Cancellation: no checkpoint; C43.
        """
        client, job = self._job(request, "remove", input_message.pid, granted=False)
        about = {"handle": job.handle, "job": job.id}
        message = job_message(job)
        with translated(), self._refusals_recorded(client.id, "remove", **about):
            self._manager.remove(job)
        self._record(client.id, "remove", None, **about)
        return pb.RemoveResponse(job=message)

    async def ServerInfo(
        self, input_message: pb.ServerInfoRequest, request: Any
    ) -> pb.ServerInfoResponse:
        """Atomic: reads only. Every client of the policy may ask.

        No checkpoint.

        Cancellation: atomic.
        """
        client = self._client(request, None)
        return pb.ServerInfoResponse(
            version=__version__,
            mode=self._host.mode,
            cgroups=self._host.kind,
            limits=[enforcement_message(entry) for entry in self._host.limits],
            features=[each for each in FEATURES if each != "pause" or self._host.kind != "tree"],
            warnings=self._host.warnings,
            client_id=client.id,
            client_limits=totals_message(client.totals.limits),
            lag=_lag_message(self._lag()),
        )


def _lag_message(lag: Lag) -> pb.EventLoopLag:
    """How long calls have waited for the event loop."""
    return pb.EventLoopLag(
        worst_s=lag.worst_s,
        recent_worst_s=lag.recent_s,
        worst_cpu_s=lag.worst_cpu_s,
        slow_turns=lag.slow,
        turns=lag.turns,
        busy_s=lag.busy_s,
    )
