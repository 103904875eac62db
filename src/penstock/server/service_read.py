"""What a client may read of its jobs: status, output, list, end. None of it changes anything."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from ..jobs.job_errors import JobError
from ..jobs.output.seek import begin_of_lines, begin_of_time
from ..proto import command_pb2 as pb
from ..rpc.turns import FairTurns
from ..text import job_text
from .access import Access, HandlerRequest, translated
from .convert import job_message, usage_message
from .error_status import from_job_error
from .output_stream import OutputFrame, OutputFrames, messages
from .parse import filter_of, page_begin_of, streams_of, wish_of

_DEFAULT_PAGE: Final = 100
_MAX_PAGE: Final = 1000
_PAGE_BYTES: Final = 1 << 20  # a quarter of what a message may have: one job is far below the rest


class ReadCalls:
    """The calls of CommandService that read."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._frames = OutputFrames()
        self._turns = FairTurns()

    async def Status(
        self, input_message: pb.StatusRequest, request: HandlerRequest
    ) -> pb.StatusResponse:
        """Reads the limits in force from the kernel again before it answers.

        Cancellation: minimum cleanup; C18b, C43.
        """
        call = self._access.begin("Status", request, input_message)
        call.granted()
        job = call.job
        await job.look_at_limits()
        message, usage = job_message(job), usage_message(job.usage())
        return pb.StatusResponse(
            status=job_text.status_text(message, usage), job=message, usage=usage
        )

    async def StreamOutput(
        self, input_message: pb.StreamOutputRequest, request: HandlerRequest
    ) -> AsyncGenerator[pb.StreamOutputResponse | OutputFrame, None]:
        """Minimum cleanup: the cursor is freed; the job and other readers are not affected.

        Cancellation: minimum cleanup; C1, C10, C44, C46.
        """
        call = self._access.begin("StreamOutput", request, input_message)
        job = call.job
        with call.refusals():
            wish, streams = wish_of(input_message), streams_of(input_message)
            call.take_quota()
        try:
            offset = input_message.offset
            if input_message.HasField("tail_lines"):
                offset = await begin_of_lines(job.log, input_message.tail_lines, streams)
            elif input_message.since_ns:
                offset = begin_of_time(job.log, input_message.since_ns)
            with call.refusals():
                reader = job.read_output(offset, not input_message.no_follow, streams)
            try:
                call.granted()
                async with aclosing(messages(job, reader, wish, self._frames)) as stream:
                    async for message in stream:
                        yield message  # noqa: ASYNC119  # closed by server_call.py
            except JobError as error:  # such as no descriptors left to read with
                raise from_job_error(error) from error
            finally:
                reader.close()
        finally:
            call.give_stream()

    async def List(self, input_message: pb.ListRequest, request: HandlerRequest) -> pb.ListResponse:
        """No checkpoint where there is nothing to list.

        Because a job takes some 50 us, a page would take 50 ms of the event loop, and to look
        through a hundred thousand for one that matches as much again; and a client may ask for a
        hundred lists at once. So both are done in slices, one in a turn, over all clients.

        Cancellation: atomic; C43.
        """
        call = self._access.begin("List", request, input_message)
        before = call.form(page_begin_of, input_message)
        wanted = call.form(filter_of, input_message)
        call.granted()
        size = min(input_message.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        page = pb.ListResponse()
        room = _PAGE_BYTES
        last = 0
        walk = self._access.manager.history.walk(call.client.id, wanted, before)
        while not walk.is_over:
            async with self._turns.of(call.client.id):
                for job in walk.next_slice():
                    message = job_message(job)
                    room -= message.ByteSize()
                    if len(page.jobs) == size or (page.jobs and room < 0):
                        page.next_page_token = str(last)
                        return page
                    page.jobs.append(message)
                    last = job.sequence
        return page

    async def Wait(self, input_message: pb.WaitRequest, request: HandlerRequest) -> pb.WaitResponse:
        """Minimum cleanup: the wait ends, the job runs on.

        Cancellation: minimum cleanup; C8, C43.
        """
        call = self._access.begin("Wait", request, input_message)
        call.granted()
        with translated():
            await call.job.wait_finished()
        return pb.WaitResponse(job=job_message(call.job))
