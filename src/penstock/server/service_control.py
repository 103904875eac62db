"""What a client may do to a job: stop it, signal it, pause it and let it run on, remove it."""

import trio

from ..jobs.job import Job
from ..policy.decision import may_signal
from ..policy.signal_names import signal_name
from ..proto import command_pb2 as pb
from ..text import job_text
from .access import Access, AskedCall, HandlerRequest, translated
from .convert import job_message
from .parse import grace_of, signal_of, stop_signal_of


class ControlCalls:
    """The calls of CommandService that act on a job."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def Stop(self, input_message: pb.StopRequest, request: HandlerRequest) -> pb.StopResponse:
        """Completes: a stop that has begun is carried through even if the client disconnects.

        With ``no_wait`` it has no checkpoint.

        Cancellation: completes; C5, C6, C7.
        """
        call = self._access.asked("Stop", request, input_message)
        grace_s = call.form(grace_of, input_message)
        number = call.form(stop_signal_of, input_message)
        job = call.find_job(input_message.pid)
        _decide_stop(call, job, number, grace_s)
        asked_at = trio.current_time()
        reason = input_message.reason
        if input_message.no_wait:
            already_finished = job.end is not None
            with translated():
                job.ask_stop(by=call.client.id, reason=reason, grace_s=grace_s, number=number)
            return pb.StopResponse(
                result=job_text.stop_text(
                    job.handle,
                    already_finished=already_finished,
                    under_way=not already_finished,
                ),
                job=job_message(job),
                already_finished=already_finished,
            )
        with translated():
            end, already_finished = await job.stop(
                by=call.client.id, reason=reason, grace_s=grace_s, number=number
            )
        began = asked_at if job.stop_asked is None else job.stop_asked.began
        return pb.StopResponse(
            result=job_text.stop_text(job.handle, already_finished=already_finished),
            job=job_message(job),
            already_finished=already_finished,
            escalated=end.escalated,
            processes_killed=end.processes_killed,
            took_s=0.0 if already_finished else job.ended_at - began,
        )

    async def Signal(
        self, input_message: pb.SignalRequest, request: HandlerRequest
    ) -> pb.SignalResponse:
        """Completes: the signal is sent even if the client disconnects.

        Cancellation: completes; C18.
        """
        call = self._access.asked("Signal", request, input_message)
        number = call.form(signal_of, input_message)
        job = call.find_job(input_message.pid, tree=input_message.tree)
        denial = may_signal(job.started.control, job.spec.command, number)
        if denial is not None:
            call.refuse(denial, signal=signal_name(number))
        call.granted(signal=signal_name(number))
        with translated():
            count = await job.signal(number, tree=input_message.tree)
        return pb.SignalResponse(processes=count)

    async def Pause(
        self, input_message: pb.PauseRequest, request: HandlerRequest
    ) -> pb.PauseResponse:
        """Completes: the job is paused even if the client disconnects.

        Cancellation: completes; C18.
        """
        job = await self._set_paused("Pause", request, input_message)
        return pb.PauseResponse(job=job_message(job))

    async def Resume(
        self, input_message: pb.ResumeRequest, request: HandlerRequest
    ) -> pb.ResumeResponse:
        """Completes: the job runs on even if the client disconnects.

        Cancellation: completes; C18.
        """
        job = await self._set_paused("Resume", request, input_message)
        return pb.ResumeResponse(job=job_message(job))

    async def Remove(
        self, input_message: pb.RemoveRequest, request: HandlerRequest
    ) -> pb.RemoveResponse:
        """No checkpoint: the job is removed, or the call refused, as it is dispatched.

        Cancellation: no checkpoint; C43.
        """
        call = self._access.begin("Remove", request, input_message)
        message = job_message(call.job)
        with call.refusals():
            self._access.manager.remove(call.job)
        call.granted()
        return pb.RemoveResponse(job=message)

    async def _set_paused(
        self, name: str, request: HandlerRequest, message: pb.PauseRequest | pb.ResumeRequest
    ) -> Job:
        call = self._access.begin(name, request, message)
        call.granted()
        with translated():
            await call.job.set_paused(name == "Pause")
        return call.job


def _decide_stop(call: AskedCall, job: Job, number: int | None, grace_s: float | None) -> None:
    """A stop is always granted, but for a first signal of the client's own choice.

    If the job has ended, or a stop of it is under way, the grant is recorded like a read, because
    a client can repeat it as often as the network carries it. Raises RpcError
    (PERMISSION_DENIED).
    """
    is_first = job.stop_asked is None and job.end is None
    decided: dict[str, object] = {}
    if grace_s is not None and not is_first:
        decided["grace_s"] = grace_s
    if number is not None:
        decided["signal"] = signal_name(number)
        denial = may_signal(job.started.control, job.spec.command, number)
        if denial is not None:
            call.refuse(denial, **decided)
    if is_first:
        call.granted(**decided)
    else:
        call.counted(**decided)
