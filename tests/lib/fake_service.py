"""A scripted CommandService over the real transport, and the real CLI as its client."""

import contextlib
import os
import subprocess
import sys
import termios
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from pki import Pki, shared_pki
from ports import reserved_port

from penstock.jobs.input import Sender
from penstock.jobs.job_errors import JobError
from penstock.proto import command_pb2 as pb
from penstock.proto.command_grpc import CommandServiceServicer
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.grpc_server import Server
from penstock.rpc.limits import SERVER_DEFAULTS, Limits
from penstock.server.error_status import from_job_error
from penstock.server.methods import MESSAGE_LIMITS

HANDLE = "48213"
PLAIN = (sys.executable, "-m", "penstock.cli")


@dataclass
class Way:
    """How the tests run the command line: the program itself, or the front end of an agent."""

    command: tuple[str, ...] = PLAIN
    environment: dict[str, str] = field(default_factory=dict)


WAY = Way()


class FakeService(CommandServiceServicer):  # type: ignore[misc]  # purerpc is untyped
    """Answers as a test says. ``starts`` has every StartRequest that came."""

    def __init__(self) -> None:
        self.starts: list[pb.StartRequest] = []
        self.stops: list[pb.StopRequest] = []
        self.start_arrived = trio.Event()
        self.start_may_answer = trio.Event()
        self.start_may_answer.set()
        self.start_errors: list[RpcError] = []
        """What the first starts fail with, one each."""
        self.stop_arrived = trio.Event()
        self.stop_may_answer = trio.Event()
        self.stop_may_answer.set()
        self.stop_error: RpcError | None = None
        self.stop_errors: dict[str, RpcError] = {}
        """What the stops of these handles fail with."""
        self.wait_arrived = trio.Event()
        self.wait_may_answer = trio.Event()
        self.wait_may_answer.set()
        self.stream_read = trio.Event()
        """All of ``messages`` are sent."""
        self.messages: list[pb.StreamOutputResponse] = []
        self.stream_may_end = trio.Event()
        self.stream_may_end.set()
        self.stream_error: RpcError | None = None
        self.at_stop: list[pb.StreamOutputResponse] = []
        """What a stop adds to the stream, before it ends."""
        self.end = pb.EndRecord(reason="exited", exit_code=0)
        self.exit_codes: dict[str, int] | None = None
        """The only jobs that Wait knows, instead of the one with ``end``."""
        self.jobs: list[pb.Job] = []
        """What List gives, of what is asked for; newest first."""
        self.lists: list[pb.ListRequest] = []
        self.stop_answer: pb.StopResponse | None = None
        """What a stop is answered that is waited for, instead of the usual sentence alone."""
        self.streams: list[pb.StreamOutputRequest] = []
        self.stream_errors: list[RpcError] = []
        """What the first streams fail with, one each, before anything else."""
        self.who_am_i = pb.WhoAmIResponse(client_id="alice")
        """What WhoAmI gives, of its commands those that are asked for."""
        self.watches: list[pb.WatchRequest] = []
        self.watch_arrived = trio.Event()
        self.watch_errors: list[RpcError] = []
        """What the first watches fail with, one each."""
        self.watch_resync = False
        """Whether the next one begins with changes that are missing."""
        self.changes: list[pb.WatchResponse] = []
        self._changed = trio.Event()
        self.begins = 0
        """Where a stream begins that names no offset."""
        self.looks: list[str] = []
        """Of which jobs Status was asked."""
        self.looked = trio.Event()
        self.statuses: dict[str, pb.StatusResponse] = {}
        """What Status gives, by handle; all others are NOT_FOUND."""
        self.removals: dict[str, RpcError | None] = {}
        """What becomes of a Remove, by handle; all others are NOT_FOUND."""
        self.on_remove: Callable[[str], None] = lambda handle: None
        """Called as each arrives, which is answered after a turn of the scheduler."""
        self.controls: list[pb.SignalRequest | pb.PauseRequest | pb.ResumeRequest] = []
        self.control_error: RpcError | None = None
        """What all of them fail with."""
        self.info_error: RpcError | None = None
        """What ServerInfo fails with."""
        self.sends: list[pb.SendInputRequest] = []
        """The first request of each SendInput."""
        self.send_errors: list[RpcError] = []
        """What the first of these calls fail with, one each."""
        self.input = bytearray()
        self.input_ended = False
        self.accepted_told: list[int] = []
        """What the first answers say instead of how much has come."""
        self._sender = Sender(1)
        self._input_grown = trio.Event()

    @property
    def job(self) -> pb.Job:
        return pb.Job(handle=HANDLE, command="ls", state=pb.JOB_STATE_RUNNING)

    async def Start(self, input_message: pb.StartRequest, request: Any) -> pb.StartResponse:
        self.starts.append(input_message)
        self.start_arrived.set()
        await self.start_may_answer.wait()
        if self.start_errors:
            raise self.start_errors.pop(0)
        return pb.StartResponse(pid=HANDLE, job=self.job)

    async def Stop(self, input_message: pb.StopRequest, request: Any) -> pb.StopResponse:
        self.stops.append(input_message)
        self.stop_arrived.set()
        await self.stop_may_answer.wait()
        if error := self.stop_errors.get(input_message.pid, self.stop_error):
            raise error
        if self.at_stop:
            self.stream_may_end.set()
        if input_message.no_wait:
            return pb.StopResponse(result=f"Job {input_message.pid} is being stopped.")
        return self.stop_answer or pb.StopResponse(
            result=f"Job {input_message.pid} successfully stopped!"
        )

    async def StreamOutput(
        self, input_message: pb.StreamOutputRequest, request: Any
    ) -> AsyncGenerator[pb.StreamOutputResponse, None]:
        self.streams.append(input_message)
        if self.stream_errors:
            raise self.stream_errors.pop(0)
        at = input_message.offset or self.begins
        yield pb.StreamOutputResponse(job=self.job, offset=at, next_offset=at)
        for message in self.messages:
            if message.offset >= at or message.HasField("finished"):
                yield numbered(message, at)
                at = message.next_offset
        self.stream_read.set()
        await self.stream_may_end.wait()
        for message in self.at_stop:
            yield numbered(message, at)
            at = message.next_offset
        if self.stream_error is not None:
            raise self.stream_error

    async def Remove(self, input_message: pb.RemoveRequest, request: Any) -> pb.RemoveResponse:
        handle = input_message.pid
        self.on_remove(handle)
        await trio.lowlevel.checkpoint()
        error = self.removals.get(handle, RpcError(StatusCode.NOT_FOUND, f"Job {handle} not found"))
        if error is not None:
            raise error
        return pb.RemoveResponse(job=pb.Job(handle=handle, state=pb.JOB_STATE_FINISHED))

    async def Signal(self, input_message: pb.SignalRequest, request: Any) -> pb.SignalResponse:
        self._control(input_message)
        return pb.SignalResponse(processes=3 if input_message.tree else 1)

    async def Pause(self, input_message: pb.PauseRequest, request: Any) -> pb.PauseResponse:
        self._control(input_message)
        job = self.job
        job.paused = True
        return pb.PauseResponse(job=job)

    async def Resume(self, input_message: pb.ResumeRequest, request: Any) -> pb.ResumeResponse:
        self._control(input_message)
        return pb.ResumeResponse(job=self.job)

    def _control(self, message: pb.SignalRequest | pb.PauseRequest | pb.ResumeRequest) -> None:
        self.controls.append(message)
        if self.control_error is not None:
            raise self.control_error

    async def SendInput(
        self, input_messages: AsyncIterator[pb.SendInputRequest], request: Any
    ) -> AsyncGenerator[pb.SendInputResponse, None]:
        message: pb.SendInputRequest | None = await anext(input_messages)
        assert message is not None
        self.sends.append(message)
        if self.send_errors:
            raise self.send_errors.pop(0)
        self._sender = Sender(1)
        while message is not None:
            if message.data:
                self.input[message.offset :] = message.data
            self.input_ended = self.input_ended or message.eof
            self._input_grown.set()
            self._input_grown = trio.Event()
            accepted = self.accepted_told.pop(0) if self.accepted_told else len(self.input)
            yield pb.SendInputResponse(accepted=accepted, eof=self.input_ended)
            try:
                message = await self._sender.wait(anext, input_messages, None)
            except JobError as error:
                raise from_job_error(error) from error

    async def wait_input(self, size: int, *, calls: int = 1) -> None:
        """Until so much of it has come, and so many calls."""
        while len(self.input) < size or len(self.sends) < calls:
            await self._input_grown.wait()

    async def wait_end_of_input(self) -> None:
        """Until a client has said that nothing more comes."""
        while not self.input_ended:
            await self._input_grown.wait()

    def end_input(self, error: JobError) -> None:
        """The call that sends now is told this."""
        self._sender.end(error)

    async def Wait(self, input_message: pb.WaitRequest, request: Any) -> pb.WaitResponse:
        self.wait_arrived.set()
        await self.wait_may_answer.wait()
        job = self.job
        job.state = pb.JOB_STATE_FINISHED
        job.end.CopyFrom(self.end)
        if self.exit_codes is not None:
            job.handle = input_message.pid
            if job.handle not in self.exit_codes:
                raise RpcError(StatusCode.NOT_FOUND, f"Job {job.handle} not found")
            job.end.exit_code = self.exit_codes[job.handle]
        return pb.WaitResponse(job=job)

    async def List(self, input_message: pb.ListRequest, request: Any) -> pb.ListResponse:
        self.lists.append(input_message)
        wanted = [job for job in self.jobs if _is_listed(job, input_message)]
        begin = int(input_message.page_token or "0")
        end = begin + (input_message.page_size or 100)
        token = str(end) if end < len(wanted) else ""
        return pb.ListResponse(jobs=wanted[begin:end], next_page_token=token)

    async def Watch(
        self, input_message: pb.WatchRequest, request: Any
    ) -> AsyncGenerator[pb.WatchResponse, None]:
        """First the begin, then what ``change`` has been given since this number."""
        self.watches.append(input_message)
        if self.watch_errors:
            raise self.watch_errors.pop(0)
        at = input_message.after if input_message.HasField("after") else self._last_change
        self.watch_arrived.set()
        yield pb.WatchResponse(sequence=at, resync=self.watch_resync)
        self.watch_resync = False
        while True:
            for message in [each for each in self.changes if each.sequence > at]:
                at = message.sequence
                yield message
            changed = self._changed
            if not any(each.sequence > at for each in self.changes):
                await changed.wait()

    @property
    def _last_change(self) -> int:
        return self.changes[-1].sequence if self.changes else 0

    def change(self, **fields: Any) -> None:
        """One change of the job, for those that watch and those that will."""
        sequence = self._last_change + 1
        fields.setdefault("job", self.job)
        fields.setdefault("handle", HANDLE)
        self.changes.append(pb.WatchResponse(sequence=sequence, time_ns=sequence * 10**9, **fields))
        self._changed.set()
        self._changed = trio.Event()

    async def ServerInfo(
        self, input_message: pb.ServerInfoRequest, request: Any
    ) -> pb.ServerInfoResponse:
        if self.info_error is not None:
            raise self.info_error
        return pb.ServerInfoResponse(version="1", client_id="alice")

    async def WhoAmI(self, input_message: pb.WhoAmIRequest, request: Any) -> pb.WhoAmIResponse:
        answer = pb.WhoAmIResponse()
        answer.CopyFrom(self.who_am_i)
        del answer.commands[:]
        for each in self.who_am_i.commands:
            if not input_message.no_commands and input_message.command in ("", each.name):
                answer.commands.append(each)
        return answer

    async def Status(self, input_message: pb.StatusRequest, request: Any) -> pb.StatusResponse:
        self.looks.append(input_message.pid)
        self.looked.set()
        self.looked = trio.Event()
        if input_message.pid in self.statuses:
            return self.statuses[input_message.pid]
        raise RpcError(StatusCode.NOT_FOUND, f"Job {input_message.pid} not found")


def _is_listed(job: pb.Job, asked: pb.ListRequest) -> bool:
    """As proto/teleport/command.proto has the filters; without states all are listed, because a
    test gives what it wants to see."""
    return (
        (not asked.states or job.state in asked.states)
        and asked.command in ("", job.command)
        and asked.name in ("", job.name)
        and all(job.labels.get(key) == value for key, value in asked.labels.items())
        and all(key in job.labels for key in asked.label_keys)
        and job.started_ns >= asked.since_ns
        and any(text.startswith(asked.prefix) for text in (job.handle, job.name))
    )


def finished(code: int = 0) -> pb.StreamOutputResponse:
    """The last message of a job that has ended."""
    return pb.StreamOutputResponse(finished=pb.EndRecord(reason="exited", exit_code=code))


def numbered(message: pb.StreamOutputResponse, at: int) -> pb.StreamOutputResponse:
    """An end record, as after ``at`` bytes; anything else as it is."""
    if message.HasField("finished"):
        message.offset = message.next_offset = at
        message.finished.output_bytes = at
    return message


def chunk(data: bytes, *, stream: int = 1, offset: int = 0) -> pb.StreamOutputResponse:
    """Output; ``stream`` 2 is standard error."""
    return pb.StreamOutputResponse(
        data=data,
        stream=stream,  # type: ignore[arg-type]
        offset=offset,
        next_offset=offset + len(data),
        time_ns=1,
    )


def gap(start: int, end: int, reason: str) -> pb.StreamOutputResponse:
    """Bytes that are not there."""
    gap = pb.Gap(from_offset=start, to_offset=end, reason=reason)
    return pb.StreamOutputResponse(gap=gap, offset=start, next_offset=end)


@dataclass
class Done:
    """How a CLI process ended."""

    code: int
    out: bytes
    err: bytes


@dataclass
class Cli:
    """A CLI process under way; what it wrote so far is in ``out`` and ``err``."""

    process: trio.Process
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    grown: trio.Event = field(default_factory=trio.Event)
    open_streams: int = 0

    async def wait_for(self, text: bytes) -> None:
        """Until it has written this somewhere."""
        while text not in self.out + self.err:
            assert self.open_streams, f"it ended without {text!r}: {self.out!r}, {self.err!r}"
            await self.grown.wait()

    async def done(self) -> Done:
        code = await self.process.wait()
        # What it has written is in the pipes, but perhaps not read yet; another process may keep
        # them open.
        with trio.move_on_after(2):
            while self.open_streams:
                await self.grown.wait()
        return Done(code, bytes(self.out), bytes(self.err))

    def collect_in(self, nursery: trio.Nursery) -> None:
        """What it writes into pipes of ours, from now on."""
        for stream, into in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            if stream is not None:
                self.open_streams += 1
                nursery.start_soon(self.collect, stream, into)

    async def collect(self, stream: trio.abc.ReceiveStream, into: bytearray) -> None:
        # EIO is how a terminal ends.
        with contextlib.suppress(trio.BrokenResourceError, OSError):
            async for data in stream:
                into += data
                self.grown.set()
                self.grown = trio.Event()
        await stream.aclose()
        self.open_streams -= 1
        self.grown.set()


@dataclass
class FakeServer:
    """``service`` on a port of 127.0.0.1."""

    service: FakeService
    port: int
    pki: Pki
    nursery: trio.Nursery
    limits: Limits = SERVER_DEFAULTS
    serving: trio.CancelScope = field(default_factory=trio.CancelScope)
    server: Server = field(init=False)
    listener: trio.SocketListener = field(init=False)

    def environment(self) -> dict[str, str]:
        pair = self.pki.clients["alice"]
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PENSTOCK_ADDR": f"127.0.0.1:{self.port}",
            "PENSTOCK_CA": str(self.pki.ca),
            "PENSTOCK_CERT": str(pair.certificate),
            "PENSTOCK_KEY": str(pair.key),
        }

    async def serve(self) -> None:
        """Listens, again after ``break_connections``."""
        (listener,) = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        self._serve_on(listener)

    def _serve_on(self, listener: trio.SocketListener) -> None:
        self.listener = listener
        self.server = Server(
            [self.service.service],
            self.pki.server_context(),
            message_limits=MESSAGE_LIMITS,
            limits=self.limits,
        )
        self.serving = trio.CancelScope()
        # Connecting works from here on.
        self.nursery.start_soon(self._run, self.server, listener)

    async def _run(self, server: Server, listener: trio.SocketListener) -> None:
        with self.serving:
            await server.serve([listener])

    def restart(self) -> None:
        """In order: the one that serves drains, and the next one has the same listening socket."""
        listener = trio.SocketListener(self.listener.socket.dup())
        self.nursery.start_soon(self.server.drain, 2.0)
        self._serve_on(listener)

    def break_connections(self) -> None:
        """As a server does that is killed."""
        self.serving.cancel()

    @asynccontextmanager
    async def cli(
        self,
        *arguments: str | bytes,
        out: int | None = None,
        err: int | None = None,
        environment: dict[str, str] | None = None,
        without: tuple[int, ...] = (),
        stdin: int | None = None,
        ignoring: tuple[int, ...] = (),
    ) -> AsyncIterator[Cli]:
        """The CLI; ``stdin``, ``out`` and ``err`` are descriptors, closed here, instead of
        /dev/null and pipes.

        ``without`` are the standard descriptors that are closed when it starts, ``ignoring`` the
        signals that are ignored then. It is a process group of its own, as a shell makes one.
        """
        command: list[str | bytes] = [*WAY.command, *arguments]
        if without or ignoring:
            closing = " ".join(f"{fd}>&-" for fd in without)
            ignored = "".join(f"trap '' {number}; " for number in ignoring)
            command = ["sh", "-c", f'{ignored}exec "$@" {closing}', "sh", *command]
        process = await trio.lowlevel.open_process(
            command,
            process_group=0,
            env=self.environment() | WAY.environment | (environment or {}),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if out is None else out,
            stderr=subprocess.PIPE if err is None else err,
        )
        for descriptor in {stdin, out, err} - {None}:
            assert descriptor is not None
            os.close(descriptor)
        cli = Cli(process)
        async with trio.open_nursery() as nursery:
            cli.collect_in(nursery)
            try:
                yield cli
            finally:
                with trio.CancelScope(shield=True):
                    if process.returncode is None:
                        process.kill()
                    await process.wait()

    async def run_cli(self, *arguments: str | bytes, **options: Any) -> Done:
        """The CLI to its end."""
        async with self.cli(*arguments, **options) as cli:
            await cli.process.wait()
        return await cli.done()


@asynccontextmanager
async def fake_server(
    service: FakeService | None = None, **limits: Any
) -> AsyncIterator[FakeServer]:
    """Until the block ends. ``limits`` are those that are not as delivered."""
    with reserved_port() as port:
        async with trio.open_nursery() as nursery:
            changed = SERVER_DEFAULTS._replace(**limits)
            server = FakeServer(service or FakeService(), port, shared_pki(), nursery, changed)
            await server.serve()
            yield server
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def terminal(columns: int = 0) -> AsyncIterator[tuple[int, bytearray]]:
    """A pseudo-terminal's descriptor for a process, and what is shown on it; ``columns`` is its
    width, which it does not know if it is 0.

    All of it is there after the block, once every process has closed it.
    """
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24 if columns else 0, columns))
    shown = bytearray()
    holder = Cli(None)  # type: ignore[arg-type]  # its collecting alone
    async with trio.open_nursery() as nursery:
        nursery.start_soon(holder.collect, trio.lowlevel.FdStream(ours), shown)
        yield theirs, shown


def shown_lines(shown: Sequence[int]) -> bytes:
    """What a terminal got, without the carriage returns that it adds itself."""
    return bytes(shown).replace(b"\r\n", b"\n")
