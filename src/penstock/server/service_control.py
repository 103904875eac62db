"""What a client may do to a job that runs: stop it, signal it, pause it and let it go on."""

from typing import Any

import trio

from ..jobs.job import Job
from ..policy.decision import may_signal
from ..policy.policy_file import ClientPolicy
from ..policy.signal_names import signal_name
from ..proto import command_pb2 as pb
from ..text import job_text
from .access import Access, error_of, translated
from .convert import job_message
from .parse import grace_of, signal_of, stop_signal_of


class ControlCalls(Access):
    """These calls of CommandService."""

    async def Stop(self, input_message: pb.StopRequest, request: Any) -> pb.StopResponse:
        """Completes: a stop that has begun goes on though the caller leaves.

        With ``no_wait`` it has no checkpoint.

        Cancellation: completes; C5, C6, C7.
        """
        about = {"handle": input_message.pid[:64]}
        client = self._client(request, "stop", **about)
        with self._refusals_recorded(client.id, "stop", **about):
            grace_s = grace_of(input_message)
            number = stop_signal_of(input_message)
        client, job = self._job(request, "stop", input_message.pid, granted=False)
        self._may_stop(client, job, number, grace_s)
        asked_at = trio.current_time()
        reason = input_message.reason
        if input_message.no_wait:
            already_finished = job.end is not None
            with translated():
                job.ask_stop(by=client.id, reason=reason, grace_s=grace_s, number=number)
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
                by=client.id, reason=reason, grace_s=grace_s, number=number
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

    async def Signal(self, input_message: pb.SignalRequest, request: Any) -> pb.SignalResponse:
        """Completes: the signal is on its way though the caller leaves.

        Cancellation: completes; C18.
        """
        asked = {"handle": input_message.pid[:64]}
        client = self._client(request, "signal", **asked)
        with self._refusals_recorded(client.id, "signal", **asked):
            number = signal_of(input_message)
        client, job = self._job(request, "signal", input_message.pid, granted=False)
        about = {"tree": input_message.tree}
        with translated(), self._refusals_recorded(client.id, "signal", **_about(job), **about):
            self._quotas.take_signal(client)
        self._may_signal(client, job, "signal", number, **about)
        with translated():
            count = await job.signal(number, tree=input_message.tree)
        return pb.SignalResponse(processes=count)

    async def Pause(self, input_message: pb.PauseRequest, request: Any) -> pb.PauseResponse:
        """Completes: the job is paused though the caller leaves.

        Cancellation: completes; C18.
        """
        job = await self._set_paused(request, "pause", input_message.pid)
        return pb.PauseResponse(job=job_message(job))

    async def Resume(self, input_message: pb.ResumeRequest, request: Any) -> pb.ResumeResponse:
        """Completes: the job runs on though the caller leaves.

        Cancellation: completes; C18.
        """
        job = await self._set_paused(request, "resume", input_message.pid)
        return pb.ResumeResponse(job=job_message(job))

    async def _set_paused(self, request: Any, verb: str, pid: str) -> Job:
        client, job = self._job(request, verb, pid, granted=False)
        with translated(), self._refusals_recorded(client.id, verb, **_about(job)):
            self._quotas.take_signal(client)
        self._record(client.id, verb, None, **_about(job))
        with translated():
            await job.set_paused(verb == "pause")
        return job

    def _may_stop(
        self, client: ClientPolicy, job: Job, number: int | None, grace_s: float | None
    ) -> None:
        """As ``_may_signal``. Of a job whose stop is under way, or that has ended, a stop is
        recorded as a read is: it can be asked for as often as the network carries it."""
        if job.stop_asked is None and job.end is None:
            if number is None:
                self._record(client.id, "stop", None, **_about(job))
            else:
                self._may_signal(client, job, "stop", number)
            return
        more: dict[str, object] = {} if grace_s is None else {"grace_s": grace_s}
        if number is not None:
            more["signal"] = signal_name(number)
            denial = may_signal(job.started.control, job.spec.command, number)
            if denial is not None:
                self._record(client.id, "stop", denial, **_about(job), **more)
                raise error_of(denial)
        self._record_read(client.id, "stop", **_about(job), **more)

    def _may_signal(
        self, client: ClientPolicy, job: Job, verb: str, number: int, **more: object
    ) -> None:
        """Records the decision. Raises RpcError (PERMISSION_DENIED)."""
        denial = may_signal(job.started.control, job.spec.command, number)
        about = {**_about(job), "signal": signal_name(number), **more}
        self._record(client.id, verb, denial, **about)
        if denial is not None:
            raise error_of(denial)


def _about(job: Job) -> dict[str, object]:
    return {"handle": job.handle, "job": job.id}
