"""SendInput: bytes for a job's standard input, as fast as it reads them."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import trio

from ..jobs.input import JobInput, Sender
from ..jobs.job import Job
from ..jobs.job_errors import Precondition
from ..proto import command_pb2 as pb
from .access import Access, HandlerRequest, translated
from .error_status import bad_field
from .parse import check_input

_FIRST_S: Final = 30.0  # until its first message, which names the job


class InputCalls:
    """SendInput, a part of CommandService."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def SendInput(
        self, input_messages: AsyncIterator[pb.SendInputRequest], request: HandlerRequest
    ) -> AsyncGenerator[pb.SendInputResponse, None]:
        """Minimum cleanup: accepted bytes are the job's, and the next call resumes after them.

        Each request is answered when all of it is accepted, so that one request waits here at most,
        beside what the transport holds of the next ones.

        Cancellation: minimum cleanup; C19, C20, C54.
        """
        call = self._access.asked("SendInput", request)
        first = None
        # Scope S3.first.
        with trio.move_on_after(_FIRST_S):
            first = await anext(input_messages, None)
        if first is None:
            raise bad_field("pid", "no request has come; the first one of a call names the job")
        call.decide_again()
        job = call.find_job(first.pid)
        with call.refusals():
            check_input(first, first.pid)
            await job.wait_begun()  # for a job that is just being taken over
        call.decide_again()
        with call.refusals():
            given = _input_of(job)
            call.take_quota()
        try:
            with call.refusals():
                sender = given.claim(first.sender, goes_on=first.goes_on)
            call.granted()
            try:
                message: pb.SendInputRequest | None = first
                while message is not None:
                    check_input(message, first.pid)
                    with translated():
                        await _take(given, sender, message)
                    yield pb.SendInputResponse(accepted=given.accepted, eof=given.ended)
                    with translated():
                        message = await sender.wait(anext, input_messages, None)
            finally:
                given.leave(sender)
        finally:
            call.give_stream()


def _input_of(job: Job) -> JobInput:
    """The job's input. Raises Precondition if it has none, or takes no more."""
    if job.input is not None:
        return job.input
    if not job.spec.stdin:
        raise Precondition("NO_STDIN", f"job {job.handle} was started without input")
    raise Precondition("STDIN_CLOSED", f"job {job.handle} takes no more input")


async def _take(given: JobInput, sender: Sender, message: pb.SendInputRequest) -> None:
    if not message.data and not message.eof:
        return  # the client only asks how much is accepted

    async def take() -> None:
        await given.take(message.offset, message.data, end=message.eof)

    await sender.wait(take)
