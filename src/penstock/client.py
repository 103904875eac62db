"""The Python client: one connection, one method per RPC, errors as RpcError.

async with connect(Endpoint("127.0.0.1", 8443, ca, certificate, key)) as client:
    job = await client.start("ls", ["-la", "/srv"])
    async with client.stream(job.handle) as messages:
        async for message in messages:
            ...
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from google.protobuf.message import Message

from .identity import handshake_hint, load_identity
from .interrupts import uninterrupted_context
from .proto import command_pb2 as pb
from .rpc.client import Channel, ClientCall, HandshakeFailed, open_channel

MessageT = TypeVar("MessageT", bound=Message)

_SERVICE: Final = "teleport.CommandService"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is and who we are there. PEM files; ``passphrase`` is the key's."""

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    passphrase: bytes | None = None
    server_name: str | None = None


class Client:
    """Calls on one connection; any number at once. Every method raises RpcError, and
    ConnectionLost when the server is out of reach. Cancelling a call never ends a job.
    """

    def __init__(self, channel: Channel, timeout_s: float | None) -> None:
        self._channel = channel
        self._timeout_s = timeout_s

    async def start(
        self,
        command: str,
        arguments: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        request_id: str = "",
        timeout_s: float = 0.0,
        stdin: bool = False,
    ) -> pb.Job:
        """Starts a job; ``timeout_s`` is how long it may run, ``stdin`` opens its input.
        Completes on the server.

        Cancellation: completes; C4.
        """
        request = pb.StartRequest(
            command=command,
            argv=arguments,
            env=env,
            request_id=request_id,
            timeout_s=timeout_s,
            stdin=stdin,
        )
        return (await self._call("Start", request, pb.StartResponse)).job

    async def stop(
        self,
        handle: str,
        *,
        grace_s: float | None = None,
        reason: str = "",
        signal: str = "",
        no_wait: bool = False,
    ) -> pb.StopResponse:
        """Ends a job's whole tree, by ``signal`` ("TERM") or the command's own first. Completes
        on the server. No time limit of its own: it takes as long as the grace.

        Cancellation: completes; C6.
        """
        request = pb.StopRequest(
            pid=handle, grace_s=grace_s, reason=reason, signal=signal, no_wait=no_wait
        )
        return await self._channel.unary(_SERVICE, "Stop", request, pb.StopResponse)

    async def signal(self, handle: str, signal: str, *, tree: bool = False) -> int:
        """Sends a signal ("HUP", "10") to a job's main process, or to all; to how many.

        Cancellation: completes; C18.
        """
        request = pb.SignalRequest(pid=handle, signal=signal, tree=tree)
        return (await self._call("Signal", request, pb.SignalResponse)).processes

    async def pause(self, handle: str) -> pb.Job:
        """Makes every process of a job stand still. Completes on the server.

        Cancellation: completes; C18.
        """
        return (await self._call("Pause", pb.PauseRequest(pid=handle), pb.PauseResponse)).job

    async def resume(self, handle: str) -> pb.Job:
        """Lets a paused job run on. Completes on the server.

        Cancellation: completes; C18.
        """
        return (await self._call("Resume", pb.ResumeRequest(pid=handle), pb.ResumeResponse)).job

    def send_input(self) -> AbstractAsyncContextManager[ClientCall[pb.SendInputResponse]]:
        """A call to send SendInputRequests on, each answered when it is accepted.

        One connection's worth of it: ``penstock.feed`` goes on after a loss.
        """
        return self._channel.open_call(_SERVICE, "SendInput", pb.SendInputResponse)

    async def status(self, handle: str) -> pb.StatusResponse:
        """What a job is doing now.

        Cancellation: atomic.
        """
        return await self._call("Status", pb.StatusRequest(pid=handle), pb.StatusResponse)

    async def wait(self, handle: str) -> pb.Job:
        """Returns when the job has ended.

        Cancellation: minimum cleanup; C8.
        """
        request = pb.WaitRequest(pid=handle)
        return (await self._channel.unary(_SERVICE, "Wait", request, pb.WaitResponse)).job

    async def jobs(self, *, include_finished: bool = False) -> list[pb.Job]:
        """All own jobs, newest first.

        Cancellation: atomic.
        """
        jobs: list[pb.Job] = []
        token = ""
        while True:
            request = pb.ListRequest(all=include_finished, page_size=1000, page_token=token)
            answer = await self._call("List", request, pb.ListResponse)
            jobs += answer.jobs
            token = answer.next_page_token
            if not token:
                return jobs

    async def server_info(self) -> pb.ServerInfoResponse:
        """What the server is and what it can enforce.

        Cancellation: atomic.
        """
        return await self._call("ServerInfo", pb.ServerInfoRequest(), pb.ServerInfoResponse)

    async def remove(self, handle: str) -> pb.Job:
        """Forgets a finished job and its output; the job as it was.

        Cancellation: completes.
        """
        request = pb.RemoveRequest(pid=handle)
        return (await self._call("Remove", request, pb.RemoveResponse)).job

    def stream(
        self,
        handle: str,
        *,
        offset: int = 0,
        tail_lines: int = 0,
        since_ns: int = 0,
        streams: Sequence[pb.Stream] = (),
        follow: bool = True,
        raw: bool = True,
        heartbeat_s: float = 0.0,
    ) -> AbstractAsyncContextManager[ClientCall[pb.StreamOutputResponse]]:
        """Messages of a job's output; the last one of a finished job has ``finished``.

        One connection's worth of it, unchecked: ``penstock.follow`` goes on after a loss.
        ``offset``, ``tail_lines`` and ``since_ns`` (UTC, since 1970) exclude each other.
        """
        request = pb.StreamOutputRequest(
            pid=handle,
            offset=offset,
            tail_lines=tail_lines,
            since_ns=since_ns,
            streams=streams,
            no_follow=not follow,
            raw=raw,
            heartbeat_s=heartbeat_s,
        )
        return self._channel.server_stream(
            _SERVICE, "StreamOutput", request, pb.StreamOutputResponse
        )

    async def _call(self, method: str, request: Message, response_type: type[MessageT]) -> MessageT:
        return await self._channel.unary(
            _SERVICE, method, request, response_type, timeout_s=self._timeout_s
        )


@uninterrupted_context
@asynccontextmanager
async def connect(endpoint: Endpoint, *, timeout_s: float | None = 30.0) -> AsyncIterator[Client]:
    """A connected client. ``timeout_s`` bounds connecting and each call that should be quick.

    Raises KeyModeError if others can read the key, IdentityError if a file cannot be used,
    HandshakeFailed (with a note of what to look at, where that is known), ConnectionLost.

    Cancellation: minimum cleanup; C2.
    """
    context = load_identity(endpoint.ca, endpoint.certificate, endpoint.key, endpoint.passphrase)
    try:
        async with open_channel(
            endpoint.host,
            endpoint.port,
            context,
            server_hostname=endpoint.server_name,
            connect_timeout_s=10.0 if timeout_s is None else timeout_s,
        ) as channel:
            yield Client(channel, timeout_s)
    except HandshakeFailed as error:
        name = endpoint.server_name or endpoint.host
        if hint := handshake_hint(error, name, endpoint.ca, endpoint.certificate):
            error.add_note(hint)
        raise
